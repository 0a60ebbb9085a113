#include "models/lbi/region.h"

#include <algorithm>

#include "models/module.h"
#include "ops/arithmetic.h"
#include "ops/gated_add.h"
#include "ops/layer_norm.h"

namespace ghost {
namespace {

constexpr double kNormEps = 1e-5;

ModuleParameters parameters_of(LayeredModel& model, std::int64_t index, std::string_view module) {
  return {model.parameters(), fmt::format("regions.{}.{}", index, module), model.decays_all(),
          Precision::kValue};
}

}  // namespace

Region::Region(const RegionsConfig& config, std::int64_t index, LayeredModel& model)
    : index_(index),
      begin_(index * config.layers_per_region),
      end_(std::min(begin_ + config.layers_per_region, model.num_layers())),
      model_(&model),
      decoder_(parameters_of(model, index, "decoder."),
               InterfaceMlp::decoder_widths(config, model.channels())),
      encoder_(parameters_of(model, index, "encoder."),
               InterfaceMlp::encoder_widths(config, model.channels())) {
  ModuleParameters parameters = parameters_of(model, index, "");
  scale_ = parameters.undecayed("scale", {1}, constant_init(config.update_scale));
  norm_weight_ = parameters.gain("norm.weight", config.state_dim);
  norm_bias_ = parameters.undecayed("norm.bias", {config.state_dim}, {});
}

Tensor Region::features(Context& ctx, const Tensor& canvas, const Tensor& state,
                        const Slots& slots) const {
  Tensor input = canvas;
  if (slots.size() > 0) {
    const Context::Scope scope(ctx, fmt::format("regions.{}", index_));
    const Tensor condition = in_module(ctx, "decoder", [&] { return decoder_(ctx, state); });
    input =
        add_to_positions(ctx, canvas, to_dtype(ctx, condition, canvas.dtype()), slots.conditions);
  }
  return model_->blocks().forward(ctx, input, begin_, end_);
}

Tensor Region::next_state(Context& ctx, const Tensor& state, const Tensor& features,
                          const Slots& slots) const {
  const Context::Scope scope(ctx, fmt::format("regions.{}", index_));
  const Tensor pooled =
      to_dtype(ctx, mean_over_positions(ctx, features, slots.pools), state.dtype());
  const Tensor change = in_module(ctx, "encoder", [&] { return encoder_(ctx, pooled); });
  const Tensor moved = gated_add(ctx, state, change, ctx.use(*scale_));
  return in_module(ctx, "norm", [&] {
    return layer_norm(ctx, moved, ctx.use(*norm_weight_), ctx.use(*norm_bias_), kNormEps);
  });
}

}  // namespace ghost
