#include "data/permutation.h"

#include <algorithm>
#include <bit>

#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::uint32_t kNumRounds = 6;

}  // namespace

IndexPermutation::IndexPermutation(std::uint64_t seed, std::uint32_t epoch, std::uint32_t stream,
                                   std::int64_t size)
    : philox_(seed), epoch_(epoch), stream_(stream), size_(static_cast<std::uint64_t>(size)) {
  GHOST_CHECK(size > 0, "permutation of {} values; expected at least one", size);
  half_bits_ = std::max(1, (static_cast<int>(std::bit_width(size_ - 1)) + 1) / 2);
}

std::uint64_t IndexPermutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint32_t round = 0; round < kNumRounds; ++round) {
    // Round numbers from 1 keep these counters apart from those of random windows (word 1 is 0),
    // the purpose in the last word from all other draws of a run.
    const auto words = philox_(static_cast<std::uint32_t>(right), round + 1, epoch_,
                               stream_ | static_cast<std::uint32_t>(Purpose::kBatch) << 24);
    const std::uint64_t mixed = left ^ (words[0] & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

std::int64_t IndexPermutation::operator()(std::int64_t index) const {
  std::uint64_t value = static_cast<std::uint64_t>(index);
  do {
    value = encrypt(value);
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

}  // namespace ghost
