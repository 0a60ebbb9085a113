#include "models/hybrid/hybrid.h"

#include "models/module.h"
#include "ops/arithmetic.h"
#include "ops/embedding.h"
#include "ops/rms_norm.h"

namespace ghost {

Hybrid::Hybrid(const HybridConfig& config, std::string architecture)
    : config_(config), architecture_(std::move(architecture)) {
  if (config.vocab_size <= 0) {
    fail<ConfigError>("model.vocab_size is {}; expected the size of the vocabulary",
                      config.vocab_size);
  }
  ModuleParameters backbone(parameters_, "backbone.", config.decay_all);
  embedding_ = backbone.weight("embedding.weight", {config.padded_vocab_size(), config.channels},
                               {.kind = InitKind::kNormal, .std = config.embedding_std});
  for (std::int64_t i = 0; i < config.layers; ++i) {
    auto block = std::make_unique<HybridBlock>(config, i, parameters_);
    mixers_.push_back(block.get());
    blocks_.add(std::move(block));
  }
  norm_f_ = backbone.gain("norm_f.weight", config.channels);
  if (!config.tied_head) {
    lm_head_ = ModuleParameters(parameters_, "", config.decay_all)
                   .linear("lm_head.weight", config.padded_vocab_size(), config.channels);
  }
}

Tensor Hybrid::embed(Context& ctx, const Tensor& tokens, std::int64_t /*start*/) const {
  return in_module(ctx, "embedding", [&] {
    const Tensor x = embedding(ctx, tokens, ctx.use(*embedding_));
    // What reads the stream or joins it goes by this dtype.
    return config_.residual_in_f32 ? to_dtype(ctx, x, statistic_dtype(x.dtype())) : x;
  });
}

Tensor Hybrid::final_norm(Context& ctx, const Tensor& x) const {
  return in_module(ctx, "final_norm",
                   [&] { return rms_norm(ctx, x, ctx.use(*norm_f_), config_.norm_eps); });
}

std::string Hybrid::block_prefix(std::int64_t block) const {
  return fmt::format("backbone.layers.{}.", block);
}

// A product's backward pass is twice its forward pass.
double Hybrid::flops_per_token(std::int64_t seq_len) const {
  std::int64_t multiplied = parameters_.num_elements();
  if (!config_.tied_head) {
    multiplied -= embedding_->shape.numel();
  }
  double between_tokens = 0;
  for (const HybridBlock* block : mixers_) {
    between_tokens += 3 * block->flops_per_token(seq_len);
  }
  return 6.0 * static_cast<double>(multiplied) + between_tokens;
}

}  // namespace ghost
