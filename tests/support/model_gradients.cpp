#include "tests/support/model_gradients.h"

#include <cmath>

#include "tests/support/op_check.h"

namespace ghost::test {

std::vector<double> gradients_of(Context& ctx, LanguageModel& model,
                                 const ResidualsConfig& residuals, std::int64_t step,
                                 const Tensor& tokens, const Tensor& targets) {
  Tape tape{ResidualPlan(residuals)};
  const Context::Recording recording(ctx, &tape);
  ctx.begin_pass(/*seed=*/1, step);
  model.parameters().begin_gradients();
  tape.backward(ctx, model.loss(ctx, tokens, targets));
  model.parameters().finish_gradients();
  std::vector<double> out;
  for (const auto& parameter : model.parameters().all()) {
    const auto values = values_of(parameter->grad);
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

double central_difference(double& value, double step, const std::function<double()>& loss) {
  const double centre = value;
  value = centre + step;
  const double above = loss();
  value = centre - step;
  const double below = loss();
  value = centre;
  return (above - below) / (2 * step);
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace ghost::test
