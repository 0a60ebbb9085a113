#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Sets elements to zero with probability `rate` and divides the others by 1 - rate. Gives x itself
/// when the context is not training or rate is 0.
///
///   y_i = x_i / (1 - rate) where u_i >= rate, else 0;   u_i the upper 24 bits of a Philox word
///
/// x       any shape up to 2^34 elements, f32, bf16 or f64
/// rate    0 <= rate < 1
/// returns y, shape and dtype of x
/// keeps   nothing: backward draws the same numbers again (element i: word i % 4 of counter i / 4)
/// throws  ghost::Error when rate is out of range
/// source  Srivastava et al. 2014, JMLR 15 (with the scale in training)
Tensor dropout(Context& ctx, const Tensor& x, double rate);

}  // namespace ghost
