#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "models/block.h"
#include "models/model.h"

namespace ghost {

/// State of a generation: one BlockState a layer and the tokens seen so far.
struct GenerationState {
  std::vector<std::unique_ptr<BlockState>> blocks;
  std::int64_t length = 0;
  std::int64_t max_length = 0;
};

/// A causal language model. Its loss is the mean cross-entropy in nats of tokens and targets
/// [B, T] i32; targets of -1 do not count.
class LanguageModel : public Model {
 public:
  /// Logits [B, T, V] of every position.
  virtual Tensor logits(Context& ctx, const Tensor& tokens) = 0;

  /// Room for generating up to `max_length` tokens, the prompt included.
  virtual GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) = 0;
  /// Reads the next T >= 1 tokens [B, T]; logits [B, V] after the last one.
  virtual Tensor step(Context& ctx, const Tensor& tokens, GenerationState& state) = 0;

  /// Tokens that the vocabulary really has; the columns behind them are padding.
  virtual std::int64_t vocab_size() const = 0;
  virtual std::int64_t padded_vocab_size() const = 0;
  /// Longest sequence the model can read; 0 when there is no limit.
  virtual std::int64_t max_seq_len() const = 0;

  /// Training FLOPs a token: 6 N, N without embeddings that are only looked up, and the products
  /// between tokens. Recomputation does not count.
  virtual double flops_per_token(std::int64_t seq_len) const = 0;

  BatchLayout batch_layout(std::int64_t batch_size, std::int64_t seq_len,
                           DType /*activations*/) const override {
    return {.inputs = {batch_size, seq_len}, .targets = {batch_size, seq_len}};
  }
  std::int64_t index_bound() const override { return vocab_size(); }
  std::string_view item_name() const override { return "token"; }
  double flops_per_item(std::int64_t seq_len) const override { return flops_per_token(seq_len); }
};

}  // namespace ghost
