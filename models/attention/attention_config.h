#pragma once

#include <cstdint>
#include <string>

#include "ops/attention.h"

namespace ghost {

/// An attention mixer with rotary positions.
struct AttentionConfig {
  std::int64_t heads = 12;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t conv = 0;
  double rope_base = 10000;
  double rope_fraction = 1;
  std::int64_t mlp = 0;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("heads", heads, "query heads, > 0");
    visit("kv_heads", kv_heads, "key and value heads, a divisor of heads; 0: as many");
    visit("head_dim", head_dim, "channels a head; 0: channels / heads");
    visit("conv", conv, "taps of a causal convolution over q, k and v; 0: none");
    visit("rope_base", rope_base, "base of the rotary angles, > 0");
    visit("rope_fraction", rope_fraction,
          "share of head_dim that turns, in (0, 1]; 0: no positions");
    visit("mlp", mlp, "hidden width of a gated MLP behind the mixer; 0: none");
  }
  void validate(const std::string& prefix) const;
  /// What hangs on the width of the residual stream.
  void validate_for(std::int64_t channels, const std::string& prefix) const;

  AttentionShape shape(std::int64_t channels) const {
    return {.heads = heads,
            .kv_heads = kv_heads > 0 ? kv_heads : heads,
            .head_dim = head_dim > 0 ? head_dim : channels / heads};
  }
};

}  // namespace ghost
