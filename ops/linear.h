#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Dense layer over the last dimension.
///
///   y = x weight^T + bias
///
/// x       [..., N]  f32, bf16 or f64
/// weight  [M, N]    dtype of x; rows are outputs, as in PyTorch
/// bias    [M] or undefined
/// returns y [..., M]
/// keeps   x (linear_input; only the weight gradient needs it), weight
/// throws  ghost::Error when shapes do not fit
Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace ghost
