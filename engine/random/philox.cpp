#include "engine/random/philox.h"

#include <cassert>
#include <cmath>
#include <numbers>

#include <Random123/philox.h>

namespace ghost {

Philox::Words Philox::operator()(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                 std::uint32_t c3) const {
  const r123::Philox4x32::ctr_type counter = {{c0, c1, c2, c3}};
  const r123::Philox4x32::key_type key = {{key_[0], key_[1]}};
  const auto words = r123::Philox4x32{}(counter, key);
  return {words[0], words[1], words[2], words[3]};
}

Philox::Words RandomStream::words(std::uint32_t index) const {
  assert(site >= 0 && site < 65536 && micro_step >= 0 && micro_step < 256 && rank >= 0 &&
         rank < 256);
  const auto tag = static_cast<std::uint32_t>(site | micro_step << 16 | rank << 24);
  const auto high = static_cast<std::uint32_t>(step >> 32) & 0x00ffffffU;
  return Philox(seed)(index, tag, static_cast<std::uint32_t>(step),
                      high | static_cast<std::uint32_t>(purpose) << 24);
}

std::array<double, 2> normal_pair(std::uint32_t a, std::uint32_t b) {
  const double u = (static_cast<double>(a) + 0.5) * 0x1p-32;  // in (0, 1)
  const double angle = 2 * std::numbers::pi * (static_cast<double>(b) + 0.5) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace ghost
