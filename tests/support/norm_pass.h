#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/autograd/context.h"

namespace ghost::test {

/// A norm under a plan for its input: output made again, gradients of x and the weights.
struct NormPass {
  std::vector<double> again;
  std::vector<double> dx;
  std::vector<double> dweights;
  std::int64_t residual_bytes = 0;  // parameters apart
};

using Norm = std::function<Tensor(Context&, const Tensor& x, const Tensors& weights)>;

/// Runs `norm` with role norm_input kept as `keep`, and pulls `basis` random cotangents back
/// through it; gradients of the weights for one cotangent only.
NormPass pass_norm(const Norm& norm, const Tensor& x, const Tensors& weights, Keep keep,
                   std::int64_t basis);

double largest_difference(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace ghost::test
