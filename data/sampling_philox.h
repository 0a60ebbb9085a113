#pragma once

#include <array>
#include <cstdint>

#include <Random123/philox.h>

namespace ghost {

/// Philox4x32-10 keyed by a 64-bit seed: four random words as a pure function of a counter.
/// source  Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"
struct SamplingPhilox {
  explicit SamplingPhilox(std::uint64_t seed)
      : key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}} {}

  std::array<std::uint32_t, 4> operator()(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                          std::uint32_t c3) const {
    const auto words = r123::Philox4x32{}({{c0, c1, c2, c3}}, key);
    return {words[0], words[1], words[2], words[3]};
  }

  r123::Philox4x32::key_type key;
};

}  // namespace ghost
