#pragma once

#include <cstdint>

#include "models/block.h"
#include "models/gpt/gpt_config.h"

namespace ghost {

/// x + attention(layer_norm(x)), then x + mlp(layer_norm(x)).
class GptBlock final : public Block {
 public:
  /// Declares transformer.h.INDEX.* in `parameters`, which must outlive the block.
  GptBlock(const GptConfig& config, std::int64_t index, ParameterStore& parameters);

  Tensor forward(Context& ctx, const Tensor& x) const override;
  std::unique_ptr<BlockState> start(Context& ctx, std::int64_t batch,
                                    std::int64_t max_length) const override;
  Tensor step(Context& ctx, const Tensor& x, BlockState& state) const override;

 private:
  struct Affine {  // a LayerNorm's gain and bias, or a linear's weight and bias
    Parameter* weight = nullptr;
    Parameter* bias = nullptr;  // null without biases
  };

  template <typename Attend>
  Tensor run(Context& ctx, const Tensor& x, const Attend& attend) const;
  Tensor norm(Context& ctx, const Affine& affine, const Tensor& x) const;
  static Tensor project(Context& ctx, const Affine& affine, const Tensor& x);

  GptConfig config_;
  Affine ln_1_;
  Affine c_attn_;
  Affine attn_c_proj_;
  Affine ln_2_;
  Affine c_fc_;
  Affine mlp_c_proj_;
};

}  // namespace ghost
