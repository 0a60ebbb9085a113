#pragma once

#include "engine/autograd/context.h"

namespace ghost {

enum class GeluForm {
  kErf,   // exact, as in nanoGPT
  kTanh,  // the approximation of GPT-2
};

/// Gaussian error linear unit, element by element.
///
///   kErf   y = x * (1 + erf(x / sqrt(2))) / 2
///   kTanh  y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
///
/// x       any shape, f32, bf16 or f64
/// returns y, shape and dtype of x
/// keeps   x (activation_input), or f'(x) where the plan says derivative(int8 | int4); the output
///         can then not be made again
/// source  Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2
Tensor gelu(Context& ctx, const Tensor& x, GeluForm form);

/// Sigmoid linear unit (swish): y = x / (1 + exp(-x)). Otherwise as `gelu`.
/// source  Hendrycks and Gimpel 2016, arXiv:1606.08415; Ramachandran et al. 2017, arXiv:1710.05941
Tensor silu(Context& ctx, const Tensor& x);

/// Hyperbolic tangent. Otherwise as `gelu`.
Tensor tanh(Context& ctx, const Tensor& x);

/// Rectified linear unit: y = max(x, 0), with the derivative 0 at 0. Otherwise as `gelu`.
Tensor relu(Context& ctx, const Tensor& x);

}  // namespace ghost
