#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Root-mean-square normalization over the last dimension.
///
///   y = x * rstd * gain,   rstd = 1 / sqrt(mean(x^2) + eps)
///
/// x       [..., C]  f32, bf16 or f64
/// gain    [C]       dtype of x
/// eps     > 0, in units of x^2
/// returns y, shape and dtype of x
/// keeps   x (norm_input), gain, rstd [...] (statistic); x * rstd instead of x where the plan says
///         int8 or int4
/// throws  ghost::Error when gain is not [C] of dtype x, or eps <= 0
/// source  Zhang and Sennrich 2019, arXiv:1910.07467 (eps is ours)
Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& gain, double eps);

}  // namespace ghost
