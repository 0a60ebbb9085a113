#pragma once

#include "engine/device/cuda/reduce.cuh"

namespace ghost::cuda {

/// In a block of (32, kRows) threads with kLanes neighbouring columns each: the sum over threads y
/// for column 32 threadIdx.y + threadIdx.x, where there is one, added in order. All threads of the
/// block must call; `shared` may be used again right after by another call.
template <int kRows, int kLanes>
__device__ __forceinline__ float block_column_sum(const float (&values)[kLanes],
                                                  float (&shared)[kRows][kWarpSize * kLanes]) {
  __syncthreads();  // an earlier call has read what it needs
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) {
    shared[threadIdx.y][threadIdx.x * kLanes + lane] = values[lane];
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);
  float total = 0;
  if (column < kWarpSize * kLanes) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      total += shared[row][column];
    }
  }
  return total;
}

}  // namespace ghost::cuda
