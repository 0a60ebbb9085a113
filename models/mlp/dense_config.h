#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/autograd/parameter.h"
#include "engine/config/enum_names.h"

namespace ghost {

enum class DenseActivation { kTanh, kRelu, kGelu };

template <>
struct EnumNames<DenseActivation> {
  static constexpr EnumName<DenseActivation> kNames[] = {{DenseActivation::kTanh, "tanh"},
                                                         {DenseActivation::kRelu, "relu"},
                                                         {DenseActivation::kGelu, "gelu"}};
};

enum class DenseInit {
  kAuto,     // xavier for tanh, he for relu and gelu
  kXavier,   // normal, std sqrt(2 / (in + out)); Glorot and Bengio 2010
  kHe,       // normal, std sqrt(2 / in); He et al. 2015, arXiv:1502.01852
  kPytorch,  // uniform within 1 / sqrt(in), as torch.nn.Linear
};

template <>
struct EnumNames<DenseInit> {
  static constexpr EnumName<DenseInit> kNames[] = {{DenseInit::kAuto, "auto"},
                                                   {DenseInit::kXavier, "xavier"},
                                                   {DenseInit::kHe, "he"},
                                                   {DenseInit::kPytorch, "pytorch"}};
};

/// A stack of dense layers: hidden ones with an activation, and a linear one behind them.
struct DenseConfig {
  std::vector<std::int64_t> widths = {512, 512, 512};
  DenseActivation activation = DenseActivation::kTanh;
  bool bias = true;
  DenseInit init = DenseInit::kAuto;
  double init_scale = 1;
  double bias_init = 0;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("widths", widths, "outputs of the hidden layers; the last layer's are the classes");
    visit("activation", activation, "behind each hidden layer");
    visit("bias", bias, "biases in all layers");
    visit("init", init,
          "of weights: xavier, he (normal), pytorch (uniform); auto: xavier for tanh, else he");
    visit("init_scale", init_scale, "multiplies what init draws, > 0");
    visit("bias_init", bias_init, "what the biases of hidden layers start from");
  }
  void validate(const std::string& prefix) const;

  /// How a weight [out, in] starts.
  Init weight_init(std::int64_t in, std::int64_t out) const;
};

}  // namespace ghost
