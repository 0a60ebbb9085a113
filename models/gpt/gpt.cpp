#include "models/gpt/gpt.h"

#include "models/gpt/gpt_block.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"

namespace ghost {

Gpt::Gpt(const GptConfig& config) : config_(config) {
  if (config.vocab_size <= 0) {
    fail<ConfigError>("model.vocab_size is {}; expected the size of the vocabulary",
                      config.vocab_size);
  }
  const std::int64_t channels = config.channels;
  const Init embedding = config.embedding_init();
  wte_ = &parameters_.declare("transformer.wte.weight", {config.padded_vocab_size(), channels},
                              Decay::kYes, embedding);
  wpe_ = &parameters_.declare("transformer.wpe.weight", {config.max_seq_len, channels}, Decay::kYes,
                              embedding);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    blocks_.add(std::make_unique<GptBlock>(config, i, parameters_));
  }
  ln_f_weight_ = &parameters_.declare("transformer.ln_f.weight", {channels}, Decay::kNo,
                                      {.kind = InitKind::kOnes});
  if (config.bias) {
    ln_f_bias_ = &parameters_.declare("transformer.ln_f.bias", {channels}, Decay::kNo, {});
  }
  if (!config.tied_head) {
    lm_head_ =
        &parameters_.declare("lm_head.weight", {config.padded_vocab_size(), channels}, Decay::kYes,
                             config.linear_init(channels, IntoResidualStream::kNo));
  }
}

Tensor Gpt::embed(Context& ctx, const Tensor& tokens, std::int64_t start) const {
  const std::int64_t seq_len = tokens.dim(-1);
  GHOST_CHECK(start + seq_len <= config_.max_seq_len,
              "a sequence of {} tokens; model.max_seq_len, the position table, is {}",
              start + seq_len, config_.max_seq_len);
  const Context::Scope scope(ctx, "embedding");
  const Tensor x = embedding(ctx, tokens, ctx.use(*wte_));
  return dropout(ctx, position_embedding(ctx, x, ctx.use(*wpe_), start), config_.dropout);
}

Tensor Gpt::final_norm(Context& ctx, const Tensor& x) const {
  const Context::Scope scope(ctx, "final_norm");
  return layer_norm(ctx, x, ctx.use(*ln_f_weight_),
                    ln_f_bias_ == nullptr ? Tensor{} : ctx.use(*ln_f_bias_), config_.norm_eps);
}

std::string Gpt::block_prefix(std::int64_t block) const {
  return fmt::format("transformer.h.{}.", block);
}

GenerationState Gpt::start(Context& ctx, std::int64_t batch, std::int64_t max_length) {
  GHOST_CHECK(max_length <= config_.max_seq_len,
              "a generation of {} tokens; model.max_seq_len, the position table, is {}", max_length,
              config_.max_seq_len);
  return LayeredModel::start(ctx, batch, max_length);
}

double Gpt::flops_per_token(std::int64_t seq_len) const {
  std::int64_t multiplied = parameters_.num_elements() - wpe_->shape.numel();
  if (!config_.tied_head) {
    multiplied -= wte_->shape.numel();
  }
  return 6.0 * static_cast<double>(multiplied) +
         12.0 * static_cast<double>(config_.layers * config_.channels * seq_len);
}

}  // namespace ghost
