#include "models/attention/attention_mixer.h"

#include <cmath>

#include "models/module.h"
#include "ops/causal_conv1d.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace ghost {
namespace {

struct AttentionState final : BlockState {
  Tensor conv;  // [B, K-1, q | k | v], what the convolution read last; undefined at the start
  KvCache cache;
};

}  // namespace

AttentionMixer::AttentionMixer(const AttentionConfig& config, std::int64_t channels,
                               ModuleParameters parameters)
    : config_(config), shape_(config.shape(channels)) {
  const std::int64_t packed = shape_.packed_width();
  in_proj_ = parameters.linear("in_proj.weight", packed, channels);
  if (config.conv > 0) {
    conv_weight_ = parameters.weight("conv1d.weight", {packed, 1, config.conv},
                                     uniform_init(1 / std::sqrt(static_cast<double>(config.conv))));
  }
}

Tensor AttentionMixer::mix(Context& ctx, const Tensor& x, BlockState* state) const {
  auto* past = dynamic_cast<AttentionState*>(state);
  Tensor qkv = in_module(ctx, "in_proj", [&] { return linear(ctx, x, ctx.use(*in_proj_), {}); });
  if (conv_weight_ != nullptr) {
    const Tensor raw = qkv;
    qkv = in_module(ctx, "conv1d", [&] {
      return causal_conv1d(ctx, raw, ctx.use(*conv_weight_), {}, ConvActivation::kNone,
                           past == nullptr ? Tensor{} : past->conv);
    });
    if (past != nullptr) {
      past->conv = causal_conv1d_state(ctx, raw, config_.conv, past->conv);
    }
  }
  const Context::Scope scope(ctx, "attention");
  if (config_.rope_fraction > 0) {
    qkv = rope(ctx, qkv,
               {.heads = shape_.heads + 2 * shape_.kv_heads,
                .head_dim = shape_.head_dim,
                .rotated_heads = shape_.heads + shape_.kv_heads,
                .base = config_.rope_base,
                .fraction = config_.rope_fraction,
                .start = past == nullptr ? 0 : past->cache.length});
  }
  return past == nullptr ? attention(ctx, qkv, shape_)
                         : cached_attention(ctx, qkv, shape_, past->cache);
}

std::unique_ptr<BlockState> AttentionMixer::start(Context& ctx, std::int64_t batch,
                                                  std::int64_t max_length) const {
  auto state = std::make_unique<AttentionState>();
  state->cache = make_kv_cache(ctx, shape_, batch, max_length, in_proj_->used().dtype());
  return state;
}

// Scores and their product with the values, over the whole length as is usual.
double AttentionMixer::flops_per_token(std::int64_t seq_len) const {
  return 4.0 * static_cast<double>(shape_.width() * seq_len);
}

}  // namespace ghost
