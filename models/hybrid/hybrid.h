#pragma once

#include <string>
#include <vector>

#include "models/hybrid/hybrid_block.h"
#include "models/hybrid/hybrid_config.h"
#include "models/layered_model.h"

namespace ghost {

/// Embedding, blocks by `layer_types`, a final RMS norm, a head: Mamba-2, Mamba-3, attention and
/// any mixture. Parameter names are mamba_ssm's (backbone.embedding.weight,
/// backbone.layers.0.mixer..., backbone.norm_f.weight, lm_head.weight); linear weights are [out,
/// in].
class Hybrid final : public LayeredModel {
 public:
  /// `architecture` is what checkpoints call it. Throws ghost::ConfigError when the vocabulary size
  /// is not known.
  Hybrid(const HybridConfig& config, std::string architecture);

  std::string_view architecture() const override { return architecture_; }
  const HybridConfig& config() const { return config_; }

  std::int64_t vocab_size() const override { return config_.vocab_size; }
  std::int64_t padded_vocab_size() const override { return config_.padded_vocab_size(); }
  std::int64_t max_seq_len() const override { return 0; }
  std::int64_t num_layers() const override { return config_.layers; }
  double flops_per_token(std::int64_t seq_len) const override;
  std::string_view flops_formula() const override { return "6 N + mixers"; }

  std::int64_t channels() const override { return config_.channels; }
  bool decays_all() const override { return config_.decay_all; }
  std::string block_prefix(std::int64_t block) const override;
  Tensor embed(Context& ctx, const Tensor& tokens, std::int64_t start) const override;
  Tensor final_norm(Context& ctx, const Tensor& x) const override;
  Parameter& head() const override { return config_.tied_head ? *embedding_ : *lm_head_; }
  bool is_head_tied() const override { return config_.tied_head; }

 private:
  HybridConfig config_;
  std::string architecture_;
  Parameter* embedding_ = nullptr;
  Parameter* norm_f_ = nullptr;
  Parameter* lm_head_ = nullptr;            // null when tied
  std::vector<const HybridBlock*> mixers_;  // the same blocks, for what they cost
};

}  // namespace ghost
