#include "ops/optim/optimizer_config.h"

#include <cmath>

#include "engine/config/check_range.h"

namespace ghost {

void LrScale::validate(const std::string& prefix) const {
  check_range(scale >= 0 && std::isfinite(scale), prefix + "scale", scale, "a number >= 0");
}

void OptimizerConfig::validate(const std::string& prefix) const {
  const auto is_share = [](double x) { return x >= 0 && x < 1; };
  const auto is_amount = [](double x) { return x >= 0 && std::isfinite(x); };
  check_range(is_share(beta1), prefix + "beta1", beta1, "a number >= 0 and < 1");
  check_range(is_share(beta2), prefix + "beta2", beta2, "a number >= 0 and < 1");
  check_range(eps > 0 && std::isfinite(eps), prefix + "eps", eps, "a positive number");
  check_range(is_amount(decay()), prefix + "weight_decay", decay(), "a number >= 0");
  check_range(is_share(momentum), prefix + "momentum", momentum, "a number >= 0 and < 1");
  check_range(!nesterov || momentum > 0, prefix + "nesterov", nesterov,
              "false where momentum is 0");
  check_range(is_amount(grad_clip), prefix + "grad_clip", grad_clip,
              "a number >= 0, 0 for no clipping");
}

double OptimizerConfig::decay() const {
  return weight_decay.value_or(kind == OptimizerKind::kAdamW ? 0.1 : 0.0);
}

}  // namespace ghost
