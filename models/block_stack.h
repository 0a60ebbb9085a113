#pragma once

#include <memory>
#include <vector>

#include "models/block.h"
#include "models/language_model.h"

namespace ghost {

/// The blocks of a model, one after the other on its residual stream, as modules blocks.0 and on.
class BlockStack {
 public:
  void add(std::unique_ptr<Block> block) { blocks_.push_back(std::move(block)); }

  /// [B, T, C] -> [B, T, C]. Where the plan's `recompute` is block, each block keeps its input
  /// only.
  Tensor forward(Context& ctx, const Tensor& x) const { return forward(ctx, x, 0, size()); }
  /// The same of blocks [begin, end) alone.
  Tensor forward(Context& ctx, const Tensor& x, std::int64_t begin, std::int64_t end) const;

  std::int64_t size() const { return static_cast<std::int64_t>(blocks_.size()); }

  GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) const;
  /// The next T tokens [B, T, C], given the state of those before, which moves on; of the result
  /// the last token of each sequence, [B, C]. Not recorded.
  Tensor step(Context& ctx, const Tensor& x, GenerationState& state) const;

 private:
  std::vector<std::unique_ptr<Block>> blocks_;
};

}  // namespace ghost
