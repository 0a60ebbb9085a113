#include "ops/cpu/random_words.h"

#include <algorithm>
#include <array>

namespace ghost::cpu {
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

// The counter words are those of RandomStream::words (a test compares the two).
void random_words(const RandomStream& stream, std::uint32_t first, std::span<std::uint32_t> out) {
  const auto tag =
      static_cast<std::uint32_t>(stream.site | stream.micro_step << 16 | stream.rank << 24);
  const auto step_low = static_cast<std::uint32_t>(stream.step);
  const auto step_high = (static_cast<std::uint32_t>(stream.step >> 32) & 0x00ffffffU) |
                         static_cast<std::uint32_t>(stream.purpose) << 24;
  for (std::size_t begin = 0; begin < out.size(); begin += 4 * kLanes, first += kLanes) {
    Block block;
    for (std::size_t i = 0; i < kLanes; ++i) {
      block.w0[i] = first + static_cast<std::uint32_t>(i);
    }
    block.w1.fill(tag);
    block.w2.fill(step_low);
    block.w3.fill(step_high);
    philox_rounds(block, static_cast<std::uint32_t>(stream.seed),
                  static_cast<std::uint32_t>(stream.seed >> 32));
    std::array<std::uint32_t, 4 * kLanes> words;
    for (std::size_t i = 0; i < kLanes; ++i) {
      words[4 * i] = block.w0[i];
      words[4 * i + 1] = block.w1[i];
      words[4 * i + 2] = block.w2[i];
      words[4 * i + 3] = block.w3[i];
    }
    std::copy_n(words.begin(), std::min(words.size(), out.size() - begin), out.begin() + begin);
  }
}

}  // namespace ghost::cpu
