#pragma once

#include <cstdint>

#include "models/lbi/regions_config.h"
#include "ops/position_ranges.h"

namespace ghost {

/// Where the states of a sequence are, one a slot: slot c is pooled from the positions pools[c] and
/// conditions the positions conditions[c]. Regions being causal, logits at t read no token behind t
/// as long as no condition begins before the last position of its pool.
struct Slots {
  PositionRanges pools;
  PositionRanges conditions;
  std::int64_t first_scored = 0;  // earlier positions are not part of the loss

  std::int64_t size() const { return static_cast<std::int64_t>(pools.size()); }
};

/// Those of a sequence in training. Throws ghost::ConfigError when the sequence is too short to
/// have a slot: a prefix longer than it, an anchor outside, fewer tokens than a chunk.
Slots training_slots(const RegionsConfig& config, std::int64_t seq_len);

/// Those of a text whose first `prompt` tokens are known from the start: what `paper` and
/// `prefix_lm` pool. Slots whose pools the text has not filled yet are missing, all of them in a
/// short one.
Slots text_slots(const RegionsConfig& config, std::int64_t seq_len, std::int64_t prompt);

}  // namespace ghost
