#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/mlp/dense_config.h"

namespace ghost {

/// A physics-informed network for Poisson's equation: tanh layers from two coordinates to u.
struct PinnConfig {
  std::vector<std::int64_t> widths = {64, 64, 64};
  DenseInit init = DenseInit::kXavier;
  double init_scale = 1;
  double boundary_weight = 100;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("widths", widths, "outputs of the hidden layers, which are of tanh");
    visit("init", init, "of weights: xavier, he (normal), pytorch (uniform); auto: xavier");
    visit("init_scale", init_scale, "multiplies what init draws, > 0");
    visit("boundary_weight", boundary_weight, "of the boundary's term of the loss, >= 0");
  }
  void validate(const std::string& prefix) const;

  DenseConfig dense() const { return {.widths = widths, .init = init, .init_scale = init_scale}; }
};

}  // namespace ghost
