#pragma once

#include <functional>
#include <vector>

#include "models/language_model.h"

namespace ghost::test {

/// Gradients of all parameters, one after the other, of one recorded pass.
std::vector<double> gradients_of(Context& ctx, LanguageModel& model,
                                 const ResidualsConfig& residuals, std::int64_t step,
                                 const Tensor& tokens, const Tensor& targets);

/// (loss at value + step - loss at value - step) / (2 step); leaves the value as it was.
double central_difference(double& value, double step, const std::function<double()>& loss);

double cosine(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace ghost::test
