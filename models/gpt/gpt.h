#pragma once

#include "models/gpt/gpt_config.h"
#include "models/layered_model.h"

namespace ghost {

/// GPT as nanoGPT builds it: names, initialisation, tying and padding of the vocabulary.
/// Parameter names are nanoGPT's (transformer.wte.weight, ...); linear weights are [out, in].
/// source  Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
class Gpt final : public LayeredModel {
 public:
  /// Throws ghost::ConfigError when the vocabulary size is not known.
  explicit Gpt(const GptConfig& config);

  std::string_view architecture() const override { return "gpt"; }
  const GptConfig& config() const { return config_; }

  GenerationState start(Context& ctx, std::int64_t batch, std::int64_t max_length) override;

  std::int64_t vocab_size() const override { return config_.vocab_size; }
  std::int64_t padded_vocab_size() const override { return config_.padded_vocab_size(); }
  std::int64_t max_seq_len() const override { return config_.max_seq_len; }
  std::int64_t num_layers() const override { return config_.layers; }
  double flops_per_token(std::int64_t seq_len) const override;
  std::string_view flops_formula() const override { return "6 N + 12 L C T"; }

  std::int64_t channels() const override { return config_.channels; }
  std::string block_prefix(std::int64_t block) const override;
  Tensor embed(Context& ctx, const Tensor& tokens, std::int64_t start) const override;
  Tensor final_norm(Context& ctx, const Tensor& x) const override;
  Parameter& head() const override { return config_.tied_head ? *wte_ : *lm_head_; }
  bool is_head_tied() const override { return config_.tied_head; }

 private:
  GptConfig config_;
  Parameter* wte_ = nullptr;
  Parameter* wpe_ = nullptr;
  Parameter* ln_f_weight_ = nullptr;
  Parameter* ln_f_bias_ = nullptr;  // null without biases
  Parameter* lm_head_ = nullptr;    // null when tied
};

}  // namespace ghost
