#pragma once

#include <cstdint>

#include "engine/device/cuda/dtype.cuh"

namespace ghost::cuda {

/// Elements of T in a 16-byte access.
template <typename T>
inline constexpr int kVectorLanes = 16 / static_cast<int>(sizeof(T));

/// Whether 16-byte accesses may start at each of these addresses; null counts as yes.
template <typename... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Reads x[0 .. N) as float in accesses of 16 bytes. x must be aligned to them.
template <int N, typename T>
__device__ __forceinline__ void load_lanes(const T* __restrict__ x, float (&out)[N]) {
  static_assert(N * sizeof(T) % 16 == 0);
  constexpr int kPerAccess = kVectorLanes<T>;
  const uint4* from = reinterpret_cast<const uint4*>(x);
#pragma unroll
  for (int i = 0; i < N / kPerAccess; ++i) {
    const uint4 raw = from[i];
    const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if constexpr (sizeof(T) == 4) {
        out[i * kPerAccess + w] = __uint_as_float(words[w]);
      } else {  // the upper half of an f32 each
        out[i * kPerAccess + 2 * w] = __uint_as_float(words[w] << 16);
        out[i * kPerAccess + 2 * w + 1] = __uint_as_float(words[w] & 0xffff0000U);
      }
    }
  }
}

/// Writes x[0 .. N), rounded to nearest even, in accesses of 16 bytes. x must be aligned to them.
template <int N, typename T>
__device__ __forceinline__ void store_lanes(T* __restrict__ x, const float (&in)[N]) {
  static_assert(N * sizeof(T) % 16 == 0);
  constexpr int kPerAccess = kVectorLanes<T>;
  uint4* to = reinterpret_cast<uint4*>(x);
#pragma unroll
  for (int i = 0; i < N / kPerAccess; ++i) {
    std::uint32_t words[4];
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if constexpr (sizeof(T) == 4) {
        words[w] = __float_as_uint(in[i * kPerAccess + w]);
      } else {
        const std::uint32_t low =
            __bfloat16_as_ushort(__float2bfloat16_rn(in[i * kPerAccess + 2 * w]));
        const std::uint32_t high =
            __bfloat16_as_ushort(__float2bfloat16_rn(in[i * kPerAccess + 2 * w + 1]));
        words[w] = low | high << 16;
      }
    }
    to[i] = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

/// Reads the `left` elements that remain, N at most; lanes past them are 0. In 16-byte accesses
/// where all N are there and `is_aligned` says that x allows it (the same for all threads, so the
/// branch costs nothing), else one by one.
template <int N, typename T>
__device__ __forceinline__ void load_lanes(const T* __restrict__ x, std::int64_t left,
                                           bool is_aligned, float (&out)[N]) {
  if (is_aligned && left >= N) {
    load_lanes<N>(x, out);
    return;
  }
#pragma unroll
  for (int lane = 0; lane < N; ++lane) {
    out[lane] = lane < left ? to_float(x[lane]) : 0.0F;
  }
}

/// Writes the `left` elements that remain, N at most.
template <int N, typename T>
__device__ __forceinline__ void store_lanes(T* __restrict__ x, std::int64_t left, bool is_aligned,
                                            const float (&in)[N]) {
  if (is_aligned && left >= N) {
    store_lanes<N>(x, in);
    return;
  }
#pragma unroll
  for (int lane = 0; lane < N; ++lane) {
    if (lane < left) {
      x[lane] = from_float<T>(in[lane]);
    }
  }
}

}  // namespace ghost::cuda
