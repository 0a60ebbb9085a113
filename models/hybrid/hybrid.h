#pragma once

#include <string>
#include <vector>

#include "models/block_stack.h"
#include "models/hybrid/hybrid_block.h"
#include "models/hybrid/hybrid_config.h"

namespace ghost {

/// Embedding, blocks by `layer_types`, a final RMS norm, a head: Mamba-2, Mamba-3, attention and
/// any mixture. Parameter names are mamba_ssm's (backbone.embedding.weight,
/// backbone.layers.0.mixer..., backbone.norm_f.weight, lm_head.weight); linear weights are [out,
/// in].
class Hybrid final : public LanguageModel {
 public:
  /// `architecture` is what checkpoints call it. Throws ghost::ConfigError when the vocabulary size
  /// is not known.
  Hybrid(const HybridConfig& config, std::string architecture);

  std::string_view architecture() const override { return architecture_; }
  ParameterStore& parameters() override { return parameters_; }
  const HybridConfig& config() const { return config_; }

  Tensor loss(Context& ctx, const Tensor& tokens, const Tensor& targets) override;
  Tensor logits(Context& ctx, const Tensor& tokens) override;
  GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) override;
  Tensor step(Context& ctx, const Tensor& tokens, GenerationState& state) override;

  std::int64_t vocab_size() const override { return config_.vocab_size; }
  std::int64_t padded_vocab_size() const override { return config_.padded_vocab_size(); }
  std::int64_t max_seq_len() const override { return 0; }
  std::int64_t num_layers() const override { return config_.layers; }
  double flops_per_token(std::int64_t seq_len) const override;
  std::string_view flops_formula() const override { return "6 N + mixers"; }

 private:
  Tensor embed(Context& ctx, const Tensor& tokens) const;
  Tensor final_norm(Context& ctx, const Tensor& x) const;
  /// Final norm's output of every position, [B, T, C].
  Tensor features(Context& ctx, const Tensor& tokens) const;
  Parameter& head() const { return config_.tied_head ? *embedding_ : *lm_head_; }

  HybridConfig config_;
  std::string architecture_;
  ParameterStore parameters_;
  Parameter* embedding_ = nullptr;
  Parameter* norm_f_ = nullptr;
  Parameter* lm_head_ = nullptr;  // null when tied
  BlockStack blocks_;
  std::vector<const HybridBlock*> mixers_;  // the same blocks, for what they cost
};

}  // namespace ghost
