#pragma once

#include "engine/autograd/context.h"

namespace ghost {

enum class ConvActivation { kNone, kSilu };

/// Depthwise causal convolution over time: channel c of token t sees itself at t-K+1 .. t.
///
///   y[t,c] = f(bias[c] + sum_k weight[c,k] * x[t-(K-1)+k, c]),   f = silu or the identity
///
/// Tap K-1 multiplies the current token (correlation, not flipped). What lies before t = 0 comes
/// from `state`, or is zero.
///
/// x       [B, T, C]     f32, bf16 or f64
/// weight  [C, K] or [C, 1, K] as in checkpoints, dtype of x
/// bias    [C] or undefined
/// state   [B, K-1, C]   the inputs before x, oldest first; undefined: zeros
/// returns y [B, T, C]
/// keeps   x (activation_input), state (statistic), weight and bias; y can be made again
/// throws  ghost::Error when shapes or dtypes do not fit
/// source  Dao and Gu 2024, arXiv:2405.21060, section 7
Tensor causal_conv1d(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     ConvActivation activation, const Tensor& state = {});

/// The state after x [B, T, C]: the last K-1 tokens of `state` followed by x, [B, K-1, C]. Not
/// recorded. Throws ghost::Error when shapes do not fit.
Tensor causal_conv1d_state(Context& ctx, const Tensor& x, std::int64_t taps,
                           const Tensor& state = {});

}  // namespace ghost
