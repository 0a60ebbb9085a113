#pragma once

#include "engine/autograd/context.h"
#include "engine/config/enum_names.h"

namespace ghost {

/// How a projection becomes the positive rate at which a state decays.
enum class DecayActivation {
  kSoftplus,   // log(1 + e^x)
  kHeavyTail,  // 1 + x from 0 on, else 1 / (1 - x)
};

template <>
struct EnumNames<DecayActivation> {
  static constexpr EnumName<DecayActivation> kNames[] = {
      {DecayActivation::kSoftplus, "softplus"},
      {DecayActivation::kHeavyTail, "heavy_tail"},
  };
};

struct Mamba3DecayOptions {
  DecayActivation activation = DecayActivation::kSoftplus;
  double floor = 1e-4;  // the least rate; below, dd_a has no gradient
};

struct Mamba3Decay {
  Tensor dt;  // [B, T, H] length of each token's step
  Tensor a;   // [B, T, H] logarithm of its decay
};

/// Steps and decays of the Mamba-3 core, by token and head.
///
///   dt = softplus(dd_dt + dt_bias),   a = -max(f(dd_a), floor) dt
///
/// dd_dt   [B, T, H]  f32, bf16 or f64
/// dd_a    [B, T, H]  dtype of dd_dt
/// dt_bias [H] weight, f32 or, where dd_dt is f64, f64
/// returns dt and a, shape of dd_dt, dtype of dt_bias: angles and decays are sums of them over
/// whole
///         sequences, to which bf16 would give 0.05 rad after 200 tokens
/// keeps   dd_dt, dd_a (statistic), dt_bias (parameter)
/// throws  ghost::Error when a shape or dtype does not fit or the floor is negative
/// source  Lahoti et al. 2026, arXiv:2603.15569
Mamba3Decay mamba3_decay(Context& ctx, const Tensor& dd_dt, const Tensor& dd_a,
                         const Tensor& dt_bias, const Mamba3DecayOptions& options = {});

}  // namespace ghost
