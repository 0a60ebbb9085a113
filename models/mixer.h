#pragma once

#include <memory>

#include "models/block.h"

namespace ghost {

/// The part of a block in which tokens meet: from the normalized residual stream to what the
/// block's output projection reads.
class Mixer {
 public:
  virtual ~Mixer() = default;

  /// [B, T, C] -> [B, T, width()]. With a state these are the T tokens after those that it has
  /// seen, and it moves on; without (null), whole sequences.
  virtual Tensor mix(Context& ctx, const Tensor& x, BlockState* state) const = 0;
  /// An empty state for `batch` sequences of at most `max_length` tokens.
  virtual std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                            std::int64_t max_length) const = 0;

  virtual std::int64_t width() const = 0;
  /// FLOPs a token of a forward pass besides those with weights.
  virtual double flops_per_token(std::int64_t seq_len) const = 0;
};

}  // namespace ghost
