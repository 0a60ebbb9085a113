#pragma once

#include "models/layered_model.h"
#include "models/lbi/interface_mlp.h"
#include "models/lbi/slots.h"

namespace ghost {

/// One region k: some of the model's blocks, and the maps between them and the states that it
/// reads, m_k, and writes, m_(k+1). Shapes: canvas and features [B, T, C], states [B, S, r] with
/// one state a slot.
class Region {
 public:
  /// Blocks [begin, end) of `model`, in whose parameters regions.INDEX.* are declared. The model
  /// must outlive the region.
  Region(const RegionsConfig& config, std::int64_t index, LayeredModel& model);

  /// Y = blocks(canvas + decoder(m) at the conditioned positions).
  Tensor features(Context& ctx, const Tensor& canvas, const Tensor& state,
                  const Slots& slots) const;
  /// layer_norm(m + tanh(scale) encoder(mean of Y over the pooled positions)).
  Tensor next_state(Context& ctx, const Tensor& state, const Tensor& features,
                    const Slots& slots) const;

  std::int64_t index() const { return index_; }
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }

 private:
  std::int64_t index_;
  std::int64_t begin_;
  std::int64_t end_;
  const LayeredModel* model_;
  InterfaceMlp decoder_;
  InterfaceMlp encoder_;
  Parameter* scale_;
  Parameter* norm_weight_;
  Parameter* norm_bias_;
};

}  // namespace ghost
