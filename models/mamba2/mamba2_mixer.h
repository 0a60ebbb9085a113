#pragma once

#include "models/mamba2/mamba2_config.h"
#include "models/mixer.h"
#include "models/module_parameters.h"
#include "ops/ssd.h"

namespace ghost {

/// The mixer of Mamba-2: one projection to z | x B C | dt, a short causal convolution with SiLU
/// over x, B and C, the state-space core, a norm gated by z. Parameters are named as mamba_ssm's
/// (in_proj.weight, conv1d.weight, dt_bias, A_log, ...).
class Mamba2Mixer final : public Mixer {
 public:
  Mamba2Mixer(const Mamba2Config& config, std::int64_t channels, double norm_eps,
              ModuleParameters parameters);

  Tensor mix(Context& ctx, const Tensor& x, BlockState* state) const override;
  std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                    std::int64_t max_length) const override;
  std::int64_t width() const override { return core_.shape.inner(); }
  double flops_per_token(std::int64_t seq_len) const override;

 private:
  Mamba2Config config_;
  SsdConfig core_;
  std::int64_t norm_group_ = 0;
  double norm_eps_;
  Parameter* in_proj_;
  Parameter* conv_weight_;
  Parameter* conv_bias_;
  Parameter* dt_bias_;
  Parameter* a_log_;
  Parameter* d_;
  Parameter* norm_;
};

}  // namespace ghost
