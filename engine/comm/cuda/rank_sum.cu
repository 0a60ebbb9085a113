#include "engine/comm/rank_sum.h"
#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"

namespace ghost::cuda {
namespace {

constexpr int kThreads = 256;

// A thread an element, striding over the grid; neighbours read neighbours. Reads every part once.
// An element is read before it is written by the same thread, so out may be a row of parts.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_parts(const T* parts, T* out, std::int64_t rows, std::int64_t cols) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < cols; i += stride) {
    if constexpr (std::is_same_v<T, double>) {
      double sum = parts[i];
      for (std::int64_t row = 1; row < rows; ++row) {
        sum += parts[row * cols + i];
      }
      out[i] = sum;
    } else {
      float sum = to_float(parts[i]);
      for (std::int64_t row = 1; row < rows; ++row) {
        sum += to_float(parts[row * cols + i]);
      }
      out[i] = from_float<T>(sum);
    }
  }
}

template <typename T>
void launch(const Tensor& parts, const Tensor& out) {
  const std::int64_t cols = out.numel();
  sum_parts<<<num_blocks(out.device(), cols, kThreads), kThreads, 0, stream_of(out)>>>(
      elements<T>(parts), elements<T>(out), parts.dim(0), cols);
  check_launch("sum_in_rank_order");
}

}  // namespace

// f64 too: sums of squares of gradients are f64 scalars wherever they lie.
void sum_in_rank_order(const Tensor& parts, const Tensor& out) {
  if (out.numel() == 0) {
    return;
  }
  if (parts.dtype() == DType::kF64) {
    launch<double>(parts, out);
  } else {
    visit_gpu_real(parts.dtype(), "sum_in_rank_order",
                   [&]<typename T>() { launch<T>(parts, out); });
  }
}

}  // namespace ghost::cuda
