#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Root-mean-square normalization over the last dimension.
///
///   y = x * rstd * gain,   rstd = 1 / sqrt(mean(x^2) + eps)
///
/// x       [..., C]  f32, bf16 or f64
/// gain    [C]       dtype of x, or bf16 where x is f32: a residual stream that is wider than what
///         reads it; all is then computed in f32 and y rounded once
/// eps     > 0, in units of x^2
/// returns y, shape of x, dtype of gain
/// keeps   x (norm_input), gain, rstd [...] (statistic); x * rstd instead of x where the plan says
///         int8 or int4
/// throws  ghost::Error when gain is not [C] of such a dtype, or eps <= 0
/// source  Zhang and Sennrich 2019, arXiv:1910.07467 (eps is ours)
Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& gain, double eps);

}  // namespace ghost
