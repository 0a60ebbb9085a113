#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config/enum_names.h"

namespace ghost {

enum class OptimizerKind { kAdamW, kSgd };

template <>
struct EnumNames<OptimizerKind> {
  static constexpr EnumName<OptimizerKind> kNames[] = {
      {OptimizerKind::kAdamW, "adamw"},
      {OptimizerKind::kSgd, "sgd"},
  };
};

/// One line of `optimizer.lr_scales`: parameters that learn at another rate. The last match wins.
struct LrScale {
  std::string parameter = "*";
  double scale = 1;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("parameter", parameter, "glob over parameter names, as transformer.h.*.mlp.*.weight");
    visit("scale", scale, "multiplies the learning rate, >= 0");
  }
  void validate(const std::string& prefix) const;
};

/// How gradients become updates. The learning rate is the schedule's.
struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  std::optional<double> weight_decay;  // unset: 0.1 for adamw, 0 for sgd
  double momentum = 0;
  bool nesterov = false;
  double grad_clip = 1.0;
  std::vector<LrScale> lr_scales;
  std::vector<std::string> freeze;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("kind", kind, "adamw | sgd");
    visit("beta1", beta1, "adamw: decay of the gradient average, 0 to 1");
    visit("beta2", beta2, "adamw: decay of the squared gradient average, 0 to 1");
    visit("eps", eps, "adamw: added to the root of the squared average, > 0");
    visit("weight_decay", weight_decay,
          "of matrices and embeddings, >= 0; null: 0.1 for adamw, 0 for sgd");
    visit("momentum", momentum, "sgd: 0 (off) to 1");
    visit("nesterov", nesterov, "sgd: look ahead along the momentum");
    visit("grad_clip", grad_clip, "largest global gradient norm, >= 0; 0: no clipping");
    visit("lr_scales", lr_scales, "parameter globs and factors; the last match wins");
    visit("freeze", freeze, "globs over names of parameters that stay as they start");
  }
  void validate(const std::string& prefix) const;  // throws ConfigError naming key and range

  /// The weight decay in force.
  double decay() const;
};

}  // namespace ghost
