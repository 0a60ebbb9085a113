#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// y = a + b, as where a block joins the residual stream.
///
/// a       f32, bf16 or f64
/// b       shape and dtype of a, or bf16 where a is f32: a residual stream that is wider than what
///         joins it
/// returns y, shape and dtype of a
/// keeps   nothing: both inputs get dy itself, b in its own dtype
/// throws  ghost::Error when shapes or dtypes differ otherwise
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);

/// y = x * factor.
///
/// x       any shape, f32, bf16 or f64
/// returns y, shape and dtype of x
/// keeps   nothing
Tensor mul_scalar(Context& ctx, const Tensor& x, double factor);

/// y = x in another dtype, f32, bf16 or f64, rounded to nearest even; x itself where it has it.
///
/// returns y, shape of x
/// keeps   nothing: x gets dy in its own dtype
Tensor to_dtype(Context& ctx, const Tensor& x, DType dtype);

}  // namespace ghost
