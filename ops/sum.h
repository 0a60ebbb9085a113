#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Sum of all elements.
///
/// x       any shape, f32, bf16 or f64; summed in f64 in an order that does not depend on threads
/// returns y [1], dtype of x, f32 for bf16
/// keeps   nothing
Tensor sum(Context& ctx, const Tensor& x);

/// Mean of all elements; otherwise as `sum`.
Tensor mean(Context& ctx, const Tensor& x);

}  // namespace ghost
