#pragma once

#include "models/mamba3/mamba3_config.h"
#include "models/mixer.h"
#include "models/module_parameters.h"

namespace ghost {

/// The mixer of Mamba-3: one projection to z | x | B | C | dt | A | lambda | angles, norms of B and
/// C, the exponential-trapezoidal core, the gate; with ranks (MIMO) or without (SISO).
/// Parameters are named as mamba_ssm's (in_proj.weight, dt_bias, B_norm.weight, mimo_x, ...).
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
