#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/column_sums.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/gemm.h"
#include "ops/linear_kernels.h"

namespace ghost::cuda {
namespace {

// For a bias that cuBLASLt cannot add: a parameter of odd size may stand before it in the flat
// buffer. One element a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_bias(const T* __restrict__ bias, T* __restrict__ y, std::int64_t n, std::int64_t cols) {
  for_each_run<1>(
      n, [&](std::int64_t i) { y[i] = from_float<T>(to_float(y[i]) + to_float(bias[i % cols])); });
}

}  // namespace

void linear(const LinearForward& args) {
  const std::int64_t m = args.weight.dim(0);
  const std::int64_t n = args.weight.dim(1);
  const void* bias = args.bias.defined() ? args.bias.raw() : nullptr;
  const bool is_fused = are_aligned(bias);
  gemm(args.x.device(), {.m = args.x.numel() / n,
                         .n = m,
                         .k = n,
                         .a = matrix_of(args.x),
                         .b = matrix_of(args.weight, Transpose::kYes),
                         .c = matrix_of(args.y),
                         .bias = is_fused ? bias : nullptr});
  if (!is_fused) {
    const std::int64_t size = args.y.numel();
    visit_gpu_real(args.y.dtype(), "linear", [&]<typename T>() {
      add_bias<T><<<num_blocks(args.y.device(), size, kThreads), kThreads, 0, stream_of(args.y)>>>(
          elements<T>(args.bias), elements<T>(args.y), size, m);
    });
    check_launch("add_bias");
  }
}

void linear(const LinearInputBackward& args) {
  const std::int64_t m = args.weight.dim(0);
  gemm(args.dy.device(), {.m = args.dy.numel() / m,
                          .n = args.weight.dim(1),
                          .k = m,
                          .a = matrix_of(args.dy),
                          .b = matrix_of(args.weight),
                          .c = matrix_of(args.dx)});
}

void linear(const LinearWeightBackward& args) {
  const std::int64_t n = args.x.dim(-1);
  gemm(args.dy.device(), {.m = args.dweight.dim(0),
                          .n = n,
                          .k = args.x.numel() / n,
                          .a = matrix_of(args.dy, Transpose::kYes),
                          .b = matrix_of(args.x),
                          .c = matrix_of(args.dweight, args.first_column),
                          .alpha = static_cast<float>(args.alpha),
                          .beta = args.accumulate ? 1.0F : 0.0F});
}

void linear(const LinearBiasBackward& args) {
  column_sums(args.dy, args.partial, args.dbias, args.accumulate);
}

}  // namespace ghost::cuda
