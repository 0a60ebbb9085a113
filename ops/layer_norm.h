#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Layer normalization over the last dimension.
///
///   y = (x - mean) * rstd * gain + bias,   rstd = 1 / sqrt(var + eps),   var with divisor C
///
/// x       [..., C]  f32, bf16 or f64
/// gain    [C]       dtype of x
/// bias    [C] or undefined
/// eps     > 0, in units of x^2
/// returns y, shape and dtype of x
/// keeps   x (norm_input), gain, mean [...] and rstd [...] (statistic); where the plan says int8 or
///         int4 (x - mean) * rstd instead of x, and no mean
/// throws  ghost::Error when gain or bias is not [C] or eps <= 0
/// source  Ba, Kiros and Hinton 2016, arXiv:1607.06450
Tensor layer_norm(Context& ctx, const Tensor& x, const Tensor& gain, const Tensor& bias,
                  double eps);

}  // namespace ghost
