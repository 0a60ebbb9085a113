#pragma once

#include <memory>

#include "engine/autograd/context.h"

namespace ghost {

/// What a block carries from token to token while generating: keys and values, recurrent states.
class BlockState {
 public:
  virtual ~BlockState() = default;
};

/// A layer of a language model: the residual stream in, the residual stream out.
class Block {
 public:
  virtual ~Block() = default;

  /// [B, T, C] -> [B, T, C]
  virtual Tensor forward(Context& ctx, const Tensor& x) const = 0;

  /// An empty state for `batch` sequences of at most `max_length` tokens.
  virtual std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                            std::int64_t max_length) const = 0;
  /// `forward` of the next T tokens, given the state of those before; moves the state on.
  virtual Tensor step(Context& ctx, const Tensor& x, BlockState& state) const = 0;
};

}  // namespace ghost
