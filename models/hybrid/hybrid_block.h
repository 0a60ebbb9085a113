#pragma once

#include <memory>

#include "models/block.h"
#include "models/hybrid/hybrid_config.h"
#include "models/mixer.h"
#include "models/module_parameters.h"

namespace ghost {

/// x + out_proj(mixer(norm(x))), and where the mixer's section asks for an MLP, with x for that
/// sum, x + fc2(swiglu(fc1(norm2(x)))). The first half of fc1 is the gate.
class HybridBlock final : public Block {
 public:
  /// Declares backbone.layers.INDEX.* in `parameters`, which must outlive the block.
  HybridBlock(const HybridConfig& config, std::int64_t index, ParameterStore& parameters);

  Tensor forward(Context& ctx, const Tensor& x) const override { return run(ctx, x, nullptr); }
  std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                    std::int64_t max_length) const override {
    return mixer_->start(ctx, batch, max_length);
  }
  Tensor step(Context& ctx, const Tensor& x, BlockState& state) const override {
    return run(ctx, x, &state);
  }

  /// FLOPs a token of a forward pass besides those with weights.
  double flops_per_token(std::int64_t seq_len) const { return mixer_->flops_per_token(seq_len); }

 private:
  Tensor run(Context& ctx, const Tensor& x, BlockState* state) const;
  Tensor mlp(Context& ctx, const Tensor& x) const;

  double norm_eps_;
  Parameter* norm_;
  std::unique_ptr<Mixer> mixer_;
  Parameter* out_proj_;
  Parameter* norm2_ = nullptr;  // null without an MLP
  Parameter* fc1_ = nullptr;
  Parameter* fc2_ = nullptr;
};

}  // namespace ghost
