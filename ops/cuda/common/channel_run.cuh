#pragma once

#include "engine/device/cuda/vector_access.cuh"

namespace ghost::cuda {

// Runs of kRun neighbouring channels that a thread has whole: 1, or 8 or 16 bytes and aligned to
// them.

template <typename T, int kRun>
__device__ __forceinline__ void load_run(const T* x, float (&out)[kRun]) {
  if constexpr (kRun == 1) {
    out[0] = to_float(*x);
  } else if constexpr (kRun * sizeof(T) == 8) {
    static_assert(sizeof(T) == 2);
    const uint2 raw = *reinterpret_cast<const uint2*>(x);
    out[0] = __uint_as_float(raw.x << 16);
    out[1] = __uint_as_float(raw.x & 0xffff0000U);
    out[2] = __uint_as_float(raw.y << 16);
    out[3] = __uint_as_float(raw.y & 0xffff0000U);
  } else {
    load_lanes<kRun>(x, out);
  }
}

template <typename T, int kRun>
__device__ __forceinline__ void store_run(T* x, const float (&in)[kRun]) {
  if constexpr (kRun == 1) {
    *x = from_float<T>(in[0]);
  } else if constexpr (kRun * sizeof(T) == 8) {
    static_assert(sizeof(T) == 2);
    const auto word = [](float low, float high) {
      const std::uint32_t bits = __bfloat16_as_ushort(__float2bfloat16_rn(high));
      return bits << 16 | __bfloat16_as_ushort(__float2bfloat16_rn(low));
    };
    *reinterpret_cast<uint2*>(x) = make_uint2(word(in[0], in[1]), word(in[2], in[3]));
  } else {
    store_lanes<kRun>(x, in);
  }
}

}  // namespace ghost::cuda
