#pragma once

#include "engine/device/cuda/vector_access.cuh"

namespace ghost::cuda {

/// Writes the bf16 copy of 4 values, or of the `left` that remain, rounded to nearest even: in one
/// access of 8 bytes where all are there and `is_aligned` says that the copy allows it.
__device__ __forceinline__ void store_working(__nv_bfloat16* __restrict__ copy, std::int64_t left,
                                              bool is_aligned, const float (&values)[4]) {
  if (is_aligned && left >= 4) {
    alignas(8) const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(values[0], values[1]),
                                                __floats2bfloat162_rn(values[2], values[3])};
    *reinterpret_cast<uint2*>(copy) = *reinterpret_cast<const uint2*>(pairs);
    return;
  }
#pragma unroll
  for (int lane = 0; lane < 4; ++lane) {
    if (lane < left) {
      copy[lane] = __float2bfloat16_rn(values[lane]);
    }
  }
}

/// Whether store_working may use 8 bytes at once; null counts as yes.
inline bool is_working_aligned(const __nv_bfloat16* copy) {
  return reinterpret_cast<std::uintptr_t>(copy) % 8 == 0;
}

}  // namespace ghost::cuda
