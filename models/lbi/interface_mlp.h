#pragma once

#include "engine/autograd/context.h"
#include "models/lbi/regions_config.h"
#include "models/module_parameters.h"

namespace ghost {

/// y = W2 silu(W1 x + b1) + b2, over the last dimension: between features and states.
class InterfaceMlp {
 public:
  struct Widths {
    std::int64_t in = 0;
    std::int64_t hidden = 0;
    std::int64_t out = 0;
  };
  /// Declares fc1 and fc2 (weight and bias, uniform within 1 / sqrt(fan in)) below a name.
  InterfaceMlp(ModuleParameters parameters, const Widths& widths);

  Tensor operator()(Context& ctx, const Tensor& x) const;

  static Widths decoder_widths(const RegionsConfig& config, std::int64_t channels);
  static Widths encoder_widths(const RegionsConfig& config, std::int64_t channels);

 private:
  Parameter* fc1_weight_;
  Parameter* fc1_bias_;
  Parameter* fc2_weight_;
  Parameter* fc2_bias_;
};

}  // namespace ghost
