#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Gated linear unit with silu as its gate; the two halves are those of one linear.
///
///   y = silu(gate) * up,   x = [gate | up],   silu(g) = g / (1 + exp(-g))
///
/// x       [..., 2H]  f32, bf16 or f64
/// returns y [..., H], dtype of x
/// keeps   x (activation_input)
/// throws  ghost::Error when the last dimension of x is odd
/// source  Shazeer 2020, arXiv:2002.05202, equation 5
Tensor swiglu(Context& ctx, const Tensor& x);

}  // namespace ghost
