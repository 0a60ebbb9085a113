#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// x plus a share of a change, under one learned gate.
///
///   y = x + tanh(gate) * change
///
/// x       any shape, f32, bf16 or f64
/// change  shape and dtype of x
/// gate    [1], dtype of x
/// returns y, shape and dtype of x
/// keeps   change (statistic: never approximated), gate
/// throws  ghost::Error when shapes or dtypes differ
Tensor gated_add(Context& ctx, const Tensor& x, const Tensor& change, const Tensor& gate);

}  // namespace ghost
