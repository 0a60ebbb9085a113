#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "data/permutation.h"
#include "engine/core/error.h"
#include "engine/random/philox.h"

namespace ghost {
namespace {

std::int64_t total_tokens(const SampledStream& stream) {
  return std::accumulate(stream.shard_tokens.begin(), stream.shard_tokens.end(), std::int64_t{0});
}

/// Non-overlapping windows in `tokens`; each needs one token past its end, as a target.
std::int64_t count_windows(std::int64_t tokens, std::int64_t seq_len) {
  return tokens > 0 ? (tokens - 1) / seq_len : 0;
}

class RandomWindows final : public WindowSampler {
 public:
  explicit RandomWindows(const SampledStream& stream)
      : philox_(stream.seed),
        num_starts_(static_cast<std::uint64_t>(total_tokens(stream) - stream.seq_len)),
        windows_(count_windows(total_tokens(stream), stream.seq_len)) {}

  std::int64_t start(std::int64_t sequence) const override {
    const auto counter = static_cast<std::uint64_t>(sequence);
    const auto words = philox_(static_cast<std::uint32_t>(counter), /*c1=*/0,
                               static_cast<std::uint32_t>(counter >> 32),
                               static_cast<std::uint32_t>(Purpose::kBatch) << 24);
    // The remainder of 64 random bits is uniform to within num_starts / 2^64.
    const std::uint64_t draw = std::uint64_t{words[1]} << 32 | words[0];
    return static_cast<std::int64_t>(draw % num_starts_);
  }
  std::int64_t windows_per_epoch() const override { return windows_; }

 private:
  Philox philox_;
  std::uint64_t num_starts_;
  std::int64_t windows_;
};

/// Every `stride` tokens one window, `windows` of them, round and round.
class OrderedWindows final : public WindowSampler {
 public:
  OrderedWindows(std::int64_t windows, std::int64_t stride) : windows_(windows), stride_(stride) {}

  std::int64_t start(std::int64_t sequence) const override { return sequence % windows_ * stride_; }
  std::int64_t windows_per_epoch() const override { return windows_; }

 private:
  std::int64_t windows_;
  std::int64_t stride_;
};

/// Shard after shard in random order, so that reads stay inside one file for long, and windows in
/// random order inside each. Windows do not cross shards.
class ShuffledWindows final : public WindowSampler {
 public:
  explicit ShuffledWindows(const SampledStream& stream)
      : seed_(stream.seed), seq_len_(stream.seq_len) {
    std::int64_t begin = 0;
    for (const std::int64_t tokens : stream.shard_tokens) {
      if (const std::int64_t windows = count_windows(tokens, seq_len_); windows > 0) {
        shards_.push_back({.begin = begin, .windows = windows});
        windows_ += windows;
      }
      begin += tokens;
    }
  }

  std::int64_t start(std::int64_t sequence) const override {
    const auto epoch = static_cast<std::uint32_t>(sequence / windows_);
    if (epoch != order_epoch_ || order_.empty()) {
      order_shards(epoch);
    }
    const std::int64_t place = sequence % windows_;
    const auto after =
        std::upper_bound(order_.begin(), order_.end(), place,
                         [](std::int64_t value, const Turn& turn) { return value < turn.first; });
    const Turn& turn = *(after - 1);
    const Shard& shard = shards_[turn.shard];
    const auto stream = static_cast<std::uint32_t>(turn.shard + 1);
    const IndexPermutation windows(seed_, epoch, stream, shard.windows);
    return shard.begin + windows(place - turn.first) * seq_len_;
  }
  std::int64_t windows_per_epoch() const override { return windows_; }

 private:
  struct Shard {
    std::int64_t begin = 0;  // first token, in the whole stream
    std::int64_t windows = 0;
  };
  struct Turn {
    std::int64_t first = 0;  // place in the epoch of the shard's first window
    std::size_t shard = 0;
  };

  void order_shards(std::uint32_t epoch) const {
    const auto count = static_cast<std::int64_t>(shards_.size());
    const IndexPermutation order(seed_, epoch, /*stream=*/0, count);
    order_.clear();
    for (std::int64_t i = 0, first = 0; i < count; ++i) {
      const auto shard = static_cast<std::size_t>(order(i));
      order_.push_back({.first = first, .shard = shard});
      first += shards_[shard].windows;
    }
    order_epoch_ = epoch;
  }

  std::uint64_t seed_;
  std::int64_t seq_len_;
  std::vector<Shard> shards_;
  std::int64_t windows_ = 0;
  mutable std::vector<Turn> order_;  // of the epoch asked for last
  mutable std::uint32_t order_epoch_ = 0;
};

}  // namespace

std::unique_ptr<WindowSampler> make_sampler(SamplerKind kind, const SampledStream& stream) {
  GHOST_CHECK(stream.seq_len > 0, "{}: seq_len is {}; expected a positive number", stream.name,
              stream.seq_len);
  const std::int64_t tokens = total_tokens(stream);
  GHOST_CHECK(tokens > stream.seq_len, "{}: {} tokens; seq_len {} needs at least {}", stream.name,
              tokens, stream.seq_len, stream.seq_len + 1);
  switch (kind) {
    case SamplerKind::kRandom:
      return std::make_unique<RandomWindows>(stream);
    case SamplerKind::kSequential:
      return std::make_unique<OrderedWindows>(count_windows(tokens, stream.seq_len),
                                              stream.seq_len);
    case SamplerKind::kStream:
      return std::make_unique<OrderedWindows>(tokens / (stream.seq_len + 1), stream.seq_len + 1);
    case SamplerKind::kShuffled: {
      auto sampler = std::make_unique<ShuffledWindows>(stream);
      GHOST_CHECK(sampler->windows_per_epoch() > 0,
                  "{}: no shard holds seq_len + 1 = {} tokens; shuffled windows stay inside one "
                  "shard",
                  stream.name, stream.seq_len + 1);
      return sampler;
    }
  }
  fail("{}: unknown sampler", stream.name);
}

}  // namespace ghost
