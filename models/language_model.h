#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/autograd/context.h"
#include "models/block.h"

namespace ghost {

/// State of a generation: one BlockState a layer and the tokens seen so far.
struct GenerationState {
  std::vector<std::unique_ptr<BlockState>> blocks;
  std::int64_t length = 0;
  std::int64_t max_length = 0;
};

/// A causal language model. Constructing one declares its parameters and allocates nothing, so
/// that it can be planned on a dry device; parameters().materialize() brings it to life.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual std::string_view architecture() const = 0;
  virtual ParameterStore& parameters() = 0;
  const ParameterStore& parameters() const {
    return const_cast<LanguageModel*>(this)->parameters();
  }

  /// Mean cross-entropy [1] in nats. tokens, targets: [B, T] i32; targets of -1 do not count.
  virtual Tensor loss(Context& ctx, const Tensor& tokens, const Tensor& targets) = 0;

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
  virtual std::int64_t num_layers() const = 0;

  /// Training FLOPs a token: 6 N, N without embeddings that are only looked up, and the products
  /// between tokens. Recomputation does not count.
  virtual double flops_per_token(std::int64_t seq_len) const = 0;
  /// How they are counted, for people: "6 N + 12 L C T".
  virtual std::string_view flops_formula() const = 0;
};

}  // namespace ghost
