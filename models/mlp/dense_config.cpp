#include "models/mlp/dense_config.h"

#include <algorithm>
#include <cmath>

#include "engine/config/check_range.h"
#include "models/module_parameters.h"

namespace ghost {

void DenseConfig::validate(const std::string& prefix) const {
  const auto is_width = [](std::int64_t width) { return width > 0; };
  check_range(std::all_of(widths.begin(), widths.end(), is_width), prefix + "widths",
              fmt::format("[{}]", fmt::join(widths, ", ")), "a list of positive integers");
  check_range(init_scale > 0 && std::isfinite(init_scale), prefix + "init_scale", init_scale,
              "a positive number");
  check_range(std::isfinite(bias_init), prefix + "bias_init", bias_init, "a finite number");
  check_range(bias || bias_init == 0, prefix + "bias_init", bias_init,
              "0 where there are no biases");
}

Init DenseConfig::weight_init(std::int64_t in, std::int64_t out) const {
  const auto normal = [&](double variance) {
    return Init{.kind = InitKind::kNormal, .std = init_scale * std::sqrt(variance)};
  };
  const double xavier = 2.0 / static_cast<double>(in + out);
  const double he = 2.0 / static_cast<double>(in);
  switch (init) {
    case DenseInit::kAuto:
      return normal(activation == DenseActivation::kTanh ? xavier : he);
    case DenseInit::kXavier:
      return normal(xavier);
    case DenseInit::kHe:
      return normal(he);
    case DenseInit::kPytorch:
      return uniform_init(init_scale / std::sqrt(static_cast<double>(in)));
  }
  fail("an initialisation of dense layers without a rule");
}

}  // namespace ghost
