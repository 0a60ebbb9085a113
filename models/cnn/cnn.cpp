#include "models/cnn/cnn.h"

#include <algorithm>

#include "engine/config/check_range.h"
#include "models/module.h"
#include "models/module_parameters.h"
#include "ops/activation.h"
#include "ops/conv2d.h"

namespace ghost {

void CnnConfig::validate(const std::string& prefix) const {
  const bool are_positive =
      std::all_of(channels.begin(), channels.end(), [](std::int64_t count) { return count > 0; });
  check_range(are_positive, prefix + "channels", fmt::format("[{}]", fmt::join(channels, ", ")),
              "a list of positive integers");
  check_range(kernel > 0 && kernel % 2 == 1, prefix + "kernel", kernel, "an odd positive integer");
  dense.validate(prefix);
}

Cnn::Cnn(const CnnConfig& config, const Shape& sample, std::int64_t classes)
    : Classifier(sample, classes),
      config_(config),
      dense_(parameters_, config.dense, declare_convs(), classes) {}

std::int64_t Cnn::declare_convs() {
  std::int64_t in = sample()[0];
  std::int64_t height = sample()[1];
  std::int64_t width = sample()[2];
  for (std::size_t i = 0; i < config_.channels.size(); ++i) {
    if (height < 2 || width < 2) {
      fail<ConfigError>("model.channels has {} convolutions; images of {} can be halved {} times",
                        config_.channels.size(), sample(), i);
    }
    const std::int64_t out = config_.channels[i];
    const std::int64_t window = config_.kernel * config_.kernel;
    Conv conv{.name = fmt::format("convs.{}", i), .pixels = static_cast<double>(height * width)};
    ModuleParameters parameters(parameters_, conv.name + ".", /*decay_all=*/false);
    conv.weight = parameters.weight("weight", {out, in, config_.kernel, config_.kernel},
                                    config_.dense.weight_init(in * window, out * window));
    if (config_.dense.bias) {
      conv.bias = parameters.undecayed("bias", {out}, constant_init(0));
    }
    convs_.push_back(std::move(conv));
    in = out;
    height /= 2;
    width /= 2;
  }
  return in * height * width;
}

Tensor Cnn::logits(Context& ctx, const Tensor& inputs) {
  Tensor y = inputs;
  for (const Conv& conv : convs_) {
    const Context::Scope scope(ctx, conv.name);
    y = conv2d(ctx, y, ctx.use(*conv.weight), use_or_none(ctx, conv.bias));
    y = pool2d(ctx, relu(ctx, y), config_.pooling);
  }
  return dense_.forward(ctx, y.reshape({y.dim(0), y.numel() / y.dim(0)}));
}

double Cnn::flops_per_item(std::int64_t /*seq_len*/) const {
  double flops = 6 * dense_.num_weights();
  for (const Conv& conv : convs_) {
    flops += 6 * static_cast<double>(conv.weight->shape.numel()) * conv.pixels;
  }
  return flops;
}

}  // namespace ghost
