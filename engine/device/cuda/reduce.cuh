#pragma once

namespace ghost::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xffffffffU;

// The order of summation is fixed by the shape of the launch, so two runs agree bit for bit. Every
// lane gets the same bits: a butterfly adds the same pairs everywhere.

/// Sum over the 32 lanes of a warp, all of which must take part. For float, double and integers.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, offset);
  }
  return value;
}

/// Largest of the 32 lanes; NaN are passed over, unless all are.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

/// Sum over a one-dimensional block of whole warps, given to every thread. `shared` holds 32 values
/// and may be used again right after. All threads of the block must call.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  value = warp_sum(value);
  if (lane == 0) {
    shared[warp] = value;
  }
  __syncthreads();
  const T total = warp_sum(lane < num_warps ? shared[lane] : T{0});
  __syncthreads();
  return total;
}

/// Largest over a block; otherwise as block_sum.
__device__ __forceinline__ float block_max(float value, float* shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  value = warp_max(value);
  if (lane == 0) {
    shared[warp] = value;
  }
  __syncthreads();
  const float largest = warp_max(lane < num_warps ? shared[lane] : shared[0]);
  __syncthreads();
  return largest;
}

}  // namespace ghost::cuda
