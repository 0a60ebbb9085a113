#pragma once

#include <string_view>

#include "models/block_stack.h"
#include "models/language_model.h"

namespace ghost {

/// A language model of a canvas (the embedding), blocks, a final norm and a head. The parts are
/// public: models that connect the blocks in another way take them from here.
class LayeredModel : public LanguageModel {
 public:
  ParameterStore& parameters() override { return parameters_; }

  Tensor loss(Context& ctx, const Tensor& tokens, const Tensor& targets) override;
  Tensor logits(Context& ctx, const Tensor& tokens) override;
  GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) override;
  Tensor step(Context& ctx, const Tensor& tokens, GenerationState& state) override;

  virtual std::int64_t channels() const = 0;
  /// Whether every parameter carries weight decay.
  virtual bool decays_all() const { return false; }
  /// What the names of a block's parameters begin with, and no others.
  virtual std::string block_prefix(std::int64_t block) const = 0;

  /// The canvas: [B, T] tokens, the first one at position `start`, to [B, T, C].
  virtual Tensor embed(Context& ctx, const Tensor& tokens, std::int64_t start) const = 0;
  const BlockStack& blocks() const { return blocks_; }
  /// [..., C] -> [..., C]
  virtual Tensor final_norm(Context& ctx, const Tensor& x) const = 0;
  virtual Parameter& head() const = 0;
  /// Whether the head is the embedding's matrix.
  virtual bool is_head_tied() const = 0;

  /// Final norm and head: mean cross-entropy [1] of features [B, T, C], and their logits.
  Tensor readout_loss(Context& ctx, const Tensor& features, const Tensor& targets) const;
  Tensor readout_logits(Context& ctx, const Tensor& features) const;

 protected:
  ParameterStore parameters_;
  BlockStack blocks_;
};

}  // namespace ghost
