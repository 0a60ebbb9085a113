#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// The gate behind the Mamba-3 core, which also adds up the ranks.
///
///   y = sum over r of mimo_o_r * o_r * silu(z * mimo_z_r),   silu(u) = u / (1 + exp(-u))
///
/// o       [B, T, R, H, P]  f32, bf16 or f64
/// z       [B, T, H, P]     dtype of o, as all others
/// mimo_z  [H, R, P] weight, or undefined: all ones
/// mimo_o  [H, R, P] weight, or undefined: all ones
/// returns y [B, T, H, P]
/// keeps   o, z (activation_input), mimo_z, mimo_o (parameter); y can be made again
/// throws  ghost::Error when a shape or dtype does not fit
/// source  Lahoti et al. 2026, arXiv:2603.15569
Tensor mamba3_gate(Context& ctx, const Tensor& o, const Tensor& z, const Tensor& mimo_z,
                   const Tensor& mimo_o);

}  // namespace ghost
