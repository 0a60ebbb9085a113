#pragma once

#include <cstdint>

namespace ghost::cuda {

/// Threads of a block in element-wise kernels.
inline constexpr int kThreads = 256;

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
