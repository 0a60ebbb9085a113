#include "models/gpt/gpt_block.h"

#include "engine/autograd/checkpoint.h"
#include "models/module.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"

namespace ghost {
namespace {

struct GptBlockState final : BlockState {
  KvCache cache;
};

AttentionShape attention_shape(const GptConfig& config) {
  return {
      .heads = config.heads, .kv_heads = config.heads, .head_dim = config.channels / config.heads};
}

}  // namespace

GptBlock::GptBlock(const GptConfig& config, std::int64_t index, ParameterStore& parameters)
    : config_(config) {
  const std::int64_t channels = config.channels;
  const std::string prefix = fmt::format("transformer.h.{}.", index);
  const auto norm = [&](std::string_view name) {
    const std::string path = fmt::format("{}{}", prefix, name);
    Affine affine;
    affine.weight =
        &parameters.declare(path + ".weight", {channels}, Decay::kNo, {.kind = InitKind::kOnes});
    if (config.bias) {
      affine.bias = &parameters.declare(path + ".bias", {channels}, Decay::kNo, {});
    }
    return affine;
  };
  const auto linear = [&](std::string_view name, std::int64_t out, std::int64_t in,
                          IntoResidualStream into = IntoResidualStream::kNo) {
    const std::string path = fmt::format("{}{}", prefix, name);
    Affine affine;
    affine.weight =
        &parameters.declare(path + ".weight", {out, in}, Decay::kYes, config.linear_init(in, into));
    if (config.bias) {
      affine.bias = &parameters.declare(path + ".bias", {out}, Decay::kNo, {});
    }
    return affine;
  };
  ln_1_ = norm("ln_1");
  c_attn_ = linear("attn.c_attn", 3 * channels, channels);
  attn_c_proj_ = linear("attn.c_proj", channels, channels, IntoResidualStream::kYes);
  ln_2_ = norm("ln_2");
  c_fc_ = linear("mlp.c_fc", 4 * channels, channels);
  mlp_c_proj_ = linear("mlp.c_proj", channels, 4 * channels, IntoResidualStream::kYes);
}

Tensor GptBlock::norm(Context& ctx, const Affine& affine, const Tensor& x) const {
  return layer_norm(ctx, x, ctx.use(*affine.weight), use_or_none(ctx, affine.bias),
                    config_.norm_eps);
}

Tensor GptBlock::project(Context& ctx, const Affine& affine, const Tensor& x) {
  return linear(ctx, x, ctx.use(*affine.weight), use_or_none(ctx, affine.bias));
}

template <typename Attend>
Tensor GptBlock::run(Context& ctx, const Tensor& x, const Attend& attend) const {
  const auto attended = [this, attend](Context& inner, const Tensor& stream) {
    Tensor h = in_module(inner, "ln_1", [&] { return norm(inner, ln_1_, stream); });
    h = in_module(inner, "attn.c_attn", [&] { return project(inner, c_attn_, h); });
    return in_module(inner, "attn", [&] { return attend(inner, h); });
  };
  Tensor h = checkpoint(ctx, x, attended, Recompute::kAttention);
  h = in_module(ctx, "attn.c_proj", [&] { return project(ctx, attn_c_proj_, h); });
  h = in_module(ctx, "attn", [&] { return dropout(ctx, h, config_.dropout); });
  const Tensor middle = add(ctx, x, h);
  h = in_module(ctx, "ln_2", [&] { return norm(ctx, ln_2_, middle); });
  h = in_module(ctx, "mlp.c_fc", [&] { return project(ctx, c_fc_, h); });
  h = in_module(ctx, "mlp.gelu", [&] { return gelu(ctx, h, config_.gelu); });
  const Context::LastStage last(ctx);
  h = in_module(ctx, "mlp.c_proj", [&] { return project(ctx, mlp_c_proj_, h); });
  h = in_module(ctx, "mlp", [&] { return dropout(ctx, h, config_.dropout); });
  return add(ctx, middle, h);
}

Tensor GptBlock::forward(Context& ctx, const Tensor& x) const {
  return run(ctx, x, [shape = attention_shape(config_)](Context& inner, const Tensor& qkv) {
    return attention(inner, qkv, shape);
  });
}

std::unique_ptr<BlockState> GptBlock::start(Context& ctx, std::int64_t batch,
                                            std::int64_t max_length) const {
  auto state = std::make_unique<GptBlockState>();
  state->cache = make_kv_cache(ctx, attention_shape(config_), batch, max_length,
                               c_attn_.weight->used().dtype());
  return state;
}

Tensor GptBlock::step(Context& ctx, const Tensor& x, BlockState& state) const {
  auto& cache = dynamic_cast<GptBlockState&>(state).cache;
  return run(ctx, x, [&](Context& inner, const Tensor& qkv) {
    return cached_attention(inner, qkv, attention_shape(config_), cache);
  });
}

}  // namespace ghost
