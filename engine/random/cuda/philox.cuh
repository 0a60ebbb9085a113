#pragma once

#include <cstdint>

#include "engine/random/philox.h"

namespace ghost::cuda {

/// A RandomStream as kernels take it, by value: the key, and every word of the counter but the
/// index.
struct PhiloxStream {
  std::uint32_t key0;
  std::uint32_t key1;
  std::uint32_t tag;
  std::uint32_t step_low;
  std::uint32_t step_high;
};

/// Layout of the counter as engine/random/philox.h says.
inline PhiloxStream philox_stream(const RandomStream& stream) {
  const auto high = static_cast<std::uint32_t>(stream.step >> 32) & 0x00ffffffU;
  return {
      .key0 = static_cast<std::uint32_t>(stream.seed),
      .key1 = static_cast<std::uint32_t>(stream.seed >> 32),
      .tag = static_cast<std::uint32_t>(stream.site | stream.micro_step << 16 | stream.rank << 24),
      .step_low = static_cast<std::uint32_t>(stream.step),
      .step_high = high | static_cast<std::uint32_t>(stream.purpose) << 24};
}

/// The four words of an index, those of RandomStream::words: Philox4x32-10 (Salmon et al. 2011,
/// table 2 and section 4.3).
__device__ __forceinline__ uint4 philox_words(const PhiloxStream& stream, std::uint32_t index) {
  uint4 c = make_uint4(index, stream.tag, stream.step_low, stream.step_high);
  std::uint32_t key0 = stream.key0;
  std::uint32_t key1 = stream.key1;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = __umulhi(0xD2511F53U, c.x);
    const std::uint32_t low0 = 0xD2511F53U * c.x;
    const std::uint32_t high1 = __umulhi(0xCD9E8D57U, c.z);
    const std::uint32_t low1 = 0xCD9E8D57U * c.z;
    c = make_uint4(high1 ^ c.y ^ key0, low1, high0 ^ c.w ^ key1, low0);
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return c;
}

/// Uniform in [0, 1) from the upper 24 bits, as uniform_from.
__device__ __forceinline__ float uniform_of(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0F / 16777216.0F);
}

}  // namespace ghost::cuda
