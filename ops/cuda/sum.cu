#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/sum_kernels.h"

namespace ghost::cuda {
namespace {

// 16 bytes a thread, added up in f64. Traffic: x once. Launch: one block a part.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_of_part(const T* __restrict__ x, double* __restrict__ partial, std::int64_t n,
                bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  __shared__ double shared[kWarpSize];
  double total = 0;
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float values[kLanes];
    load_lanes<kLanes>(x + i, n - i, is_aligned, values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      total += static_cast<double>(values[lane]);
    }
  });
  total = block_sum(total, shared);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = total;
  }
}

// Launch: one block.
__global__ void __launch_bounds__(kThreads)
    sum_of_parts(const double* __restrict__ partial, float* __restrict__ y, std::int64_t parts,
                 double factor) {
  __shared__ double shared[kWarpSize];
  double total = 0;
  for (std::int64_t part = threadIdx.x; part < parts; part += kThreads) {
    total += partial[part];
  }
  total = block_sum(total, shared);
  if (threadIdx.x == 0) {
    *y = static_cast<float>(factor * total);
  }
}

// Every element of a cotangent's dx is the same number. Launch: gridDim.y cotangents at a time.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    spread(const float* __restrict__ dy, T* __restrict__ dx, std::int64_t n, std::int64_t basis,
           float factor, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for (std::int64_t p = blockIdx.y; p < basis; p += gridDim.y) {
    float values[kLanes];
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      values[lane] = factor * dy[p];
    }
    for_each_run<kLanes>(
        n, [&](std::int64_t i) { store_lanes<kLanes>(dx + p * n + i, n - i, is_aligned, values); });
  }
}

}  // namespace

void sum(const SumForward& args) {
  const std::int64_t n = args.x.numel();
  const std::int64_t parts = args.partial.numel();
  visit_gpu_real(args.x.dtype(), "sum", [&]<typename T>() {
    sum_of_part<T><<<static_cast<unsigned>(parts), kThreads, 0, stream_of(args.x)>>>(
        elements<T>(args.x), elements<double>(args.partial), n, are_aligned(args.x.raw()));
  });
  check_launch("sum_of_part");
  sum_of_parts<<<1, kThreads, 0, stream_of(args.x)>>>(elements<double>(args.partial),
                                                      elements<float>(args.y), parts, args.factor);
  check_launch("sum_of_parts");
}

void sum(const SumBackward& args) {
  const std::int64_t basis = args.dy.dim(0);
  const std::int64_t n = args.dx.numel() / basis;
  visit_gpu_real(args.dx.dtype(), "sum", [&]<typename T>() {
    const bool is_aligned = are_aligned(args.dx.raw()) && (basis == 1 || n % kVectorLanes<T> == 0);
    const dim3 grid(
        static_cast<unsigned>(num_blocks(args.dx.device(), n, kThreads, kVectorLanes<T>)),
        static_cast<unsigned>(basis < 64 ? basis : 64));
    spread<T><<<grid, kThreads, 0, stream_of(args.dx)>>>(
        elements<float>(args.dy), elements<T>(args.dx), n, basis, static_cast<float>(args.factor),
        is_aligned);
  });
  check_launch("spread");
}

}  // namespace ghost::cuda
