#pragma once

#include "models/mamba3/mamba3_config.h"
#include "models/mixer.h"
#include "models/module_parameters.h"

namespace ghost {

/// The mixer of Mamba-3: one projection to z | x | B | C | dt | A | lambda | angles, norms of B and
/// C, the exponential-trapezoidal core, the gate; with ranks (MIMO) or without (SISO).
/// Parameters are named as mamba_ssm's (in_proj.weight, dt_bias, B_norm.weight, mimo_x, ...).
///
/// Behind the core, with x_r = x mimo_x_r on its way in and R outputs o_r:
///
///   y = sum over r of mimo_o_r * o_r * silu(z * mimo_z_r)                                  MIMO
///   y = sum over r of mimo_o_r * w * o_r * rstd_r * silu(z * mimo_z_r)      and is_outproj_norm
///
/// where rstd_r = 1 / sqrt(mean(o_r^2) + eps) over the channels of a head and w, norm.weight, has a
/// number for each of the H P channels, the same for all ranks, as in mamba_ssm; SISO is R = 1
/// without any of the mimo weights. While generating a block carries the angles [B, H, S], the
/// state [B, H, P, N], the last keys [B, R, H, N] and the last x [B, H, P], before mimo_x.
class Mamba3Mixer final : public Mixer {
 public:
  Mamba3Mixer(const Mamba3Config& config, std::int64_t channels, double norm_eps,
              ModuleParameters parameters);

  Tensor mix(Context& ctx, const Tensor& x, BlockState* state) const override;
  std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                    std::int64_t max_length) const override;
  std::int64_t width() const override { return heads_ * config_.head_dim; }
  double flops_per_token(std::int64_t seq_len) const override;

 private:
  Tensor gated(Context& ctx, const Tensor& o, const Tensor& z) const;

  Mamba3Config config_;
  std::int64_t heads_;
  double norm_eps_;
  Parameter* in_proj_;
  Parameter* dt_bias_;
  Parameter* b_bias_;
  Parameter* c_bias_;
  Parameter* b_norm_;
  Parameter* c_norm_;
  Parameter* d_;
  Parameter* mimo_x_ = nullptr;  // null for SISO
  Parameter* mimo_z_ = nullptr;
  Parameter* mimo_o_ = nullptr;
  Parameter* norm_ = nullptr;  // null unless is_outproj_norm
};

}  // namespace ghost
