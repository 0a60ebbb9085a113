#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Convolution of images with windows of K x K, K odd, zeros around them: sizes stay.
///
///   y[b, m] = bias[m] + sum over c of weight[m, c] (cross-correlated with) x[b, c]
///
/// x       [B, C, H, W]  f32 (oneDNN) or f64 (plain loops), on the CPU
/// weight  [M, C, K, K]  dtype of x
/// bias    [M] or undefined
/// returns y [B, M, H, W]
/// keeps   x (activation_input: it is not a linear's, so it is never sketched), weight
/// throws  ghost::Error when shapes do not fit
Tensor conv2d(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace ghost
