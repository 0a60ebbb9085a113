#pragma once

#include "models/attention/attention_config.h"
#include "models/mixer.h"
#include "models/module_parameters.h"

namespace ghost {

/// Causal attention with grouped queries and rotary positions, as LBI's transformer blocks have it:
/// one projection to q | k | v, a short causal convolution over all of it where wanted, no biases.
/// Parameters are named as mamba_ssm's (in_proj.weight, conv1d.weight).
class AttentionMixer final : public Mixer {
 public:
  AttentionMixer(const AttentionConfig& config, std::int64_t channels, ModuleParameters parameters);

  Tensor mix(Context& ctx, const Tensor& x, BlockState* state) const override;
  std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                    std::int64_t max_length) const override;
  std::int64_t width() const override { return shape_.width(); }
  double flops_per_token(std::int64_t seq_len) const override;

 private:
  AttentionConfig config_;
  AttentionShape shape_;
  Parameter* in_proj_;
  Parameter* conv_weight_ = nullptr;  // null without a convolution
};

}  // namespace ghost
