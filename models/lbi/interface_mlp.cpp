#include "models/lbi/interface_mlp.h"

#include <cmath>

#include "models/module.h"
#include "ops/activation.h"
#include "ops/linear.h"

namespace ghost {

InterfaceMlp::Widths InterfaceMlp::decoder_widths(const RegionsConfig& config,
                                                  std::int64_t channels) {
  return {.in = config.state_dim,
          .hidden = config.hidden > 0 ? config.hidden : channels,
          .out = channels};
}

InterfaceMlp::Widths InterfaceMlp::encoder_widths(const RegionsConfig& config,
                                                  std::int64_t channels) {
  const Widths decoder = decoder_widths(config, channels);
  return {.in = decoder.out, .hidden = decoder.hidden, .out = decoder.in};
}

InterfaceMlp::InterfaceMlp(ModuleParameters parameters, const Widths& widths) {
  const auto bias = [&](std::string_view name, std::int64_t out, std::int64_t in) {
    return parameters.undecayed(name, {out}, uniform_init(1 / std::sqrt(static_cast<double>(in))));
  };
  fc1_weight_ = parameters.linear("fc1.weight", widths.hidden, widths.in);
  fc1_bias_ = bias("fc1.bias", widths.hidden, widths.in);
  fc2_weight_ = parameters.linear("fc2.weight", widths.out, widths.hidden);
  fc2_bias_ = bias("fc2.bias", widths.out, widths.hidden);
}

Tensor InterfaceMlp::operator()(Context& ctx, const Tensor& x) const {
  Tensor h = in_module(ctx, "fc1",
                       [&] { return linear(ctx, x, ctx.use(*fc1_weight_), ctx.use(*fc1_bias_)); });
  h = in_module(ctx, "silu", [&] { return silu(ctx, h); });
  return in_module(ctx, "fc2",
                   [&] { return linear(ctx, h, ctx.use(*fc2_weight_), ctx.use(*fc2_bias_)); });
}

}  // namespace ghost
