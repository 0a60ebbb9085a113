#include "models/mlp/dense_layers.h"

#include "models/module.h"
#include "models/module_parameters.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/taylor_activation.h"

namespace ghost {

DenseLayers::DenseLayers(ParameterStore& store, const DenseConfig& config, std::int64_t in,
                         std::int64_t out)
    : activation_(config.activation) {
  std::vector<std::int64_t> widths = config.widths;
  widths.push_back(out);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const bool is_last = i + 1 == widths.size();
    Layer layer{.name = fmt::format("layers.{}", i)};
    ModuleParameters parameters(store, layer.name + ".", /*decay_all=*/false);
    layer.weight = parameters.weight("weight", {widths[i], in}, config.weight_init(in, widths[i]));
    if (config.bias) {
      layer.bias =
          parameters.undecayed("bias", {widths[i]}, constant_init(is_last ? 0 : config.bias_init));
    }
    layers_.push_back(std::move(layer));
    in = widths[i];
  }
}

Tensor DenseLayers::forward(Context& ctx, const Tensor& x) const {
  Tensor y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const Context::Scope scope(ctx, layer.name);
    y = linear(ctx, y, ctx.use(*layer.weight), use_or_none(ctx, layer.bias));
    if (i + 1 < layers_.size()) {
      y = activate(ctx, activation_, y);
    }
  }
  return y;
}

Tensor DenseLayers::forward_taylor(Context& ctx, const Tensor& points) const {
  Tensor y = taylor_coordinates(ctx, points);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const Context::Scope scope(ctx, layer.name);
    y = linear(ctx, y, ctx.use(*layer.weight), {});
    y = taylor_activation(
        ctx, y, use_or_none(ctx, layer.bias),
        i + 1 < layers_.size() ? TaylorFunction::kTanh : TaylorFunction::kIdentity);
  }
  return y;
}

double DenseLayers::num_weights() const {
  double count = 0;
  for (const Layer& layer : layers_) {
    count += static_cast<double>(layer.weight->shape.numel());
  }
  return count;
}

Tensor activate(Context& ctx, DenseActivation activation, const Tensor& x) {
  switch (activation) {
    case DenseActivation::kTanh:
      return tanh(ctx, x);
    case DenseActivation::kRelu:
      return relu(ctx, x);
    case DenseActivation::kGelu:
      return gelu(ctx, x, GeluForm::kErf);
  }
  fail("an activation without an op");
}

}  // namespace ghost
