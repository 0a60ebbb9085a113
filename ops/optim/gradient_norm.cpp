#include "ops/optim/gradient_norm.h"

#include <algorithm>
#include <cmath>

#include "ops/optim/optim_kernels.h"

namespace ghost {

double gradient_norm(const Context& ctx, const ParameterStore& store) {
  double sum_sq = 0;
  for (const ParameterGroup& group : store.groups()) {
    dispatch(ctx, [&] { sum_sq += cpu::sum_of_squares(group.grads, *group.zeros); });
  }
  return std::sqrt(sum_sq);
}

double clip_factor(double norm, double max_norm) {
  GHOST_CHECK(std::isfinite(norm), "clip_factor: gradient norm is {}; expected a finite number",
              norm);
  return max_norm == 0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace ghost
