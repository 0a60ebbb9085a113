#include "models/hybrid/hybrid_block.h"

#include <cmath>

#include "engine/autograd/checkpoint.h"
#include "models/attention/attention_mixer.h"
#include "models/mamba2/mamba2_mixer.h"
#include "models/mamba3/mamba3_mixer.h"
#include "models/module.h"
#include "ops/arithmetic.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace ghost {
namespace {

std::unique_ptr<Mixer> make_mixer(const HybridConfig& config, LayerType type,
                                  const ModuleParameters& parameters) {
  switch (type) {
    case LayerType::kMamba2:
      return std::make_unique<Mamba2Mixer>(config.mamba2, config.channels, config.norm_eps,
                                           parameters);
    case LayerType::kMamba3:
      return std::make_unique<Mamba3Mixer>(config.mamba3, config.channels, config.norm_eps,
                                           parameters);
    case LayerType::kAttention:
      return std::make_unique<AttentionMixer>(config.attention, config.channels, parameters);
  }
  fail("a layer type without a mixer");
}

std::int64_t mlp_width(const HybridConfig& config, LayerType type) {
  switch (type) {
    case LayerType::kMamba2:
      return config.mamba2.mlp;
    case LayerType::kMamba3:
      return config.mamba3.mlp;
    case LayerType::kAttention:
      return config.attention.mlp;
  }
  fail("a layer type without a section");
}

}  // namespace

HybridBlock::HybridBlock(const HybridConfig& config, std::int64_t index, ParameterStore& parameters)
    : norm_eps_(config.norm_eps) {
  const LayerType type = config.layer_types.at(index);
  const std::string prefix = fmt::format("backbone.layers.{}.", index);
  const double scale =
      config.rescale_out_proj ? 1 / std::sqrt(static_cast<double>(config.layers)) : 1;
  ModuleParameters own(parameters, prefix, config.decay_all);
  ModuleParameters of_mixer(parameters, prefix + "mixer.", config.decay_all);
  norm_ = own.gain("norm.weight", config.channels);
  mixer_ = make_mixer(config, type, of_mixer);
  out_proj_ = of_mixer.linear("out_proj.weight", config.channels, mixer_->width(), scale);
  const std::int64_t hidden = mlp_width(config, type);
  if (hidden > 0) {
    norm2_ = own.gain("norm2.weight", config.channels);
    fc1_ = own.linear("mlp.fc1.weight", 2 * hidden, config.channels);
    fc2_ = own.linear("mlp.fc2.weight", config.channels, hidden, scale);
  }
}

Tensor HybridBlock::run(Context& ctx, const Tensor& x, BlockState* state) const {
  const auto mixed = [this, state](Context& inner, const Tensor& stream) {
    const Tensor normed = in_module(
        inner, "norm", [&] { return rms_norm(inner, stream, inner.use(*norm_), norm_eps_); });
    return in_module(inner, "mixer", [&] { return mixer_->mix(inner, normed, state); });
  };
  const Tensor h = checkpoint(ctx, x, mixed, Recompute::kAttention);
  const auto project = [&] {
    const Tensor out =
        in_module(ctx, "mixer.out_proj", [&] { return linear(ctx, h, ctx.use(*out_proj_), {}); });
    return add(ctx, x, out);
  };
  if (fc1_ != nullptr) {
    return mlp(ctx, project());
  }
  const Context::LastStage last(ctx);
  return project();
}

Tensor HybridBlock::mlp(Context& ctx, const Tensor& x) const {
  Tensor h = in_module(ctx, "norm2", [&] { return rms_norm(ctx, x, ctx.use(*norm2_), norm_eps_); });
  h = in_module(ctx, "mlp.fc1", [&] { return linear(ctx, h, ctx.use(*fc1_), {}); });
  h = in_module(ctx, "mlp.swiglu", [&] { return swiglu(ctx, h); });
  const Context::LastStage last(ctx);
  h = in_module(ctx, "mlp.fc2", [&] { return linear(ctx, h, ctx.use(*fc2_), {}); });
  return add(ctx, x, h);
}

}  // namespace ghost
