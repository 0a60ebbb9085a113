#include "engine/random/philox.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include <Random123/philox.h>

namespace ghost {
namespace {

constexpr std::size_t kLanes = 32;  // counters side by side: as many words as registers hold
using Lanes = std::array<std::uint32_t, kLanes>;

struct Block {
  Lanes w0, w1, w2, w3;
};

// Philox4x32-10 (Salmon et al. 2011, table 2 and section 4.3), the rounds outside, the lanes
// inside.
void philox_rounds(Block& block, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * block.w0[i];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * block.w2[i];
      block.w0[i] = static_cast<std::uint32_t>(product1 >> 32) ^ block.w1[i] ^ key0;
      block.w1[i] = static_cast<std::uint32_t>(product1);
      block.w2[i] = static_cast<std::uint32_t>(product0 >> 32) ^ block.w3[i] ^ key1;
      block.w3[i] = static_cast<std::uint32_t>(product0);
    }
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
}

}  // namespace

Philox::Words Philox::operator()(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                 std::uint32_t c3) const {
  const r123::Philox4x32::ctr_type counter = {{c0, c1, c2, c3}};
  const r123::Philox4x32::key_type key = {{key_[0], key_[1]}};
  const auto words = r123::Philox4x32{}(counter, key);
  return {words[0], words[1], words[2], words[3]};
}

std::array<std::uint32_t, 3> RandomStream::counter() const {
  assert(site >= 0 && site < 65536 && micro_step >= 0 && micro_step < 256 && rank >= 0 &&
         rank < 256);
  const auto tag = static_cast<std::uint32_t>(site | micro_step << 16 | rank << 24);
  const auto high = static_cast<std::uint32_t>(step >> 32) & 0x00ffffffU;
  return {tag, static_cast<std::uint32_t>(step), high | static_cast<std::uint32_t>(purpose) << 24};
}

Philox::Words RandomStream::words(std::uint32_t index) const {
  const auto [tag, step_low, step_high] = counter();
  return Philox(seed)(index, tag, step_low, step_high);
}

void RandomStream::fill(std::uint32_t first, std::span<std::uint32_t> out) const {
  const auto [tag, step_low, step_high] = counter();
  for (std::size_t begin = 0; begin < out.size(); begin += 4 * kLanes, first += kLanes) {
    Block block;
    for (std::size_t i = 0; i < kLanes; ++i) {
      block.w0[i] = first + static_cast<std::uint32_t>(i);
    }
    block.w1.fill(tag);
    block.w2.fill(step_low);
    block.w3.fill(step_high);
    philox_rounds(block, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
    std::array<std::uint32_t, 4 * kLanes> words;
    for (std::size_t i = 0; i < kLanes; ++i) {
      words[4 * i] = block.w0[i];
      words[4 * i + 1] = block.w1[i];
      words[4 * i + 2] = block.w2[i];
      words[4 * i + 3] = block.w3[i];
    }
    std::copy_n(words.begin(), std::min(words.size(), out.size() - begin),
                out.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

std::array<double, 2> normal_pair(std::uint32_t a, std::uint32_t b) {
  const double u = (static_cast<double>(a) + 0.5) * 0x1p-32;  // in (0, 1)
  const double angle = 2 * std::numbers::pi * (static_cast<double>(b) + 0.5) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace ghost
