#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// y = a + b, as where a block joins the residual stream.
///
/// a, b    equal shape and dtype, f32, bf16 or f64
/// returns y, shape and dtype of a
/// keeps   nothing: both inputs get dy itself
/// throws  ghost::Error when shapes or dtypes differ
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);

/// y = x * factor.
///
/// x       any shape, f32, bf16 or f64
/// returns y, shape and dtype of x
/// keeps   nothing
Tensor mul_scalar(Context& ctx, const Tensor& x, double factor);

}  // namespace ghost
