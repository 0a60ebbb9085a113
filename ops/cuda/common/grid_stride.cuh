#pragma once

#include <cstdint>

#include "engine/device/cuda/stream.h"
#include "engine/tensor/tensor.h"

namespace ghost::cuda {

/// Threads of a block in element-wise kernels.
inline constexpr int kThreads = 256;

/// The first index of a thread of a one-dimensional grid, and how far its next one is.
__device__ __forceinline__ std::int64_t first_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t index_stride() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

/// Blocks of kThreads for n elements on the device of `on`.
inline int blocks_for(const Tensor& on, std::int64_t n) {
  return num_blocks(on.device(), n, kThreads);
}

/// Calls `visit(first)` for the first of every `kRun` neighbouring elements of n, shared out over
/// all threads of a one-dimensional grid.
template <int kRun, typename Visit>
__device__ __forceinline__ void for_each_run(std::int64_t n, Visit&& visit) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x * kRun;
  for (std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kRun; first < n;
       first += step) {
    visit(first);
  }
}

}  // namespace ghost::cuda
