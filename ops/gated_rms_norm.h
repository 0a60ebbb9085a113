#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Where the gate acts: Mamba-2 gates first, then normalizes what is left.
enum class GateOrder { kGateThenNorm, kNormThenGate };

struct GatedRmsNormConfig {
  GateOrder order = GateOrder::kGateThenNorm;
  std::int64_t group_size = 0;  // channels that share one mean of squares; 0: all
  double eps = 1e-5;            // > 0, in units of x^2
};

/// Root-mean-square normalization over groups of channels, with silu(z) as gate.
///
///   gate then norm   y = gain * u * rstd,   u = x * silu(z),   rstd = 1 / sqrt(mean(u^2) + eps)
///   norm then gate   y = gain * x * rstd * silu(z),            rstd = 1 / sqrt(mean(x^2) + eps)
///
/// x       [..., C]  f32, bf16 or f64
/// z       [..., C]  the gate, dtype of x; undefined: none, silu(z) above is 1
/// gain    [C]       dtype of x
/// returns y, shape and dtype of x
/// keeps   x (norm_input), z (activation_input), gain, rstd [..., C / group_size] (statistic);
///         y can be made again
/// throws  ghost::Error when shapes or dtypes do not fit, groups do not divide C or eps <= 0
/// source  Dao and Gu 2024, arXiv:2405.21060, section 7; norm_before_gate is the second order
Tensor gated_rms_norm(Context& ctx, const Tensor& x, const Tensor& z, const Tensor& gain,
                      const GatedRmsNormConfig& config = {});

}  // namespace ghost
