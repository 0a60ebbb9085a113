#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ghost {

/// A Mamba-2 mixer, in the letters of Dao and Gu 2024, arXiv:2405.21060.
struct Mamba2Config {
  std::int64_t state = 128;    // N
  std::int64_t head_dim = 64;  // P
  std::int64_t expand = 2;     // E
  std::int64_t groups = 1;     // G
  std::int64_t conv = 4;       // K
  std::int64_t chunk = 128;    // L
  bool norm_before_gate = false;
  std::int64_t norm_group = 0;
  double dt_min = 0.001;
  double dt_max = 0.1;
  std::vector<double> dt_limit;
  std::int64_t mlp = 0;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("state", state, "numbers that a channel remembers, > 0");
    visit("head_dim", head_dim, "channels a head; divides expand * channels");
    visit("expand", expand, "inner width over model.channels, > 0");
    visit("groups", groups, "heads / groups heads share one B and C");
    visit("conv", conv, "taps of the causal convolution, >= 2");
    visit("chunk", chunk, "tokens that share matrix products, > 0; speed and rounding only");
    visit("norm_before_gate", norm_before_gate, "order of the gated norm");
    visit("norm_group", norm_group,
          "channels of a mean in the gated norm; 0: inner width / groups");
    visit("dt_min", dt_min, "least initial step, >= 1e-4");
    visit("dt_max", dt_max, "largest initial step, >= dt_min");
    visit("dt_limit", dt_limit, "[least, largest] step that is taken; []: any");
    visit("mlp", mlp, "hidden width of a gated MLP behind the mixer; 0: none");
  }
  void validate(const std::string& prefix) const;
  /// What hangs on the width of the residual stream.
  void validate_for(std::int64_t channels, const std::string& prefix) const;

  std::int64_t inner(std::int64_t channels) const { return expand * channels; }
  std::int64_t norm_group_size(std::int64_t channels) const {
    return norm_group > 0 ? norm_group : inner(channels) / groups;
  }
};

}  // namespace ghost
