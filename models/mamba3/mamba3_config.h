#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "ops/mamba3_decay.h"

namespace ghost {

/// A Mamba-3 mixer, in the letters of Lahoti et al. 2026, arXiv:2603.15569.
struct Mamba3Config {
  std::int64_t state = 128;    // N
  std::int64_t head_dim = 64;  // P
  std::int64_t expand = 2;
  std::int64_t groups = 1;     // G
  std::int64_t mimo_rank = 1;  // R
  std::int64_t chunk = 0;
  double rope_fraction = 0.5;
  DecayActivation a_activation = DecayActivation::kSoftplus;
  double a_floor = 1e-4;
  bool is_outproj_norm = false;
  double dt_min = 0.001;
  double dt_max = 0.1;
  std::int64_t mlp = 0;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("state", state, "numbers that a channel remembers, > 0");
    visit("head_dim", head_dim, "channels a head; divides expand * channels");
    visit("expand", expand, "inner width over model.channels, > 0");
    visit("groups", groups, "heads / groups heads share one B and C");
    visit("mimo_rank", mimo_rank, "inputs and outputs that share one state; 1: SISO");
    visit("chunk", chunk, "tokens that share matrix products; 0: 64 / mimo_rank");
    visit("rope_fraction", rope_fraction, "share of the state that turns, 0.5 or 1");
    visit("a_activation", a_activation, "of the rate of decay; mamba_ssm has heavy_tail, LBI not");
    visit("a_floor", a_floor, "least rate of decay, >= 0");
    visit("is_outproj_norm", is_outproj_norm, "normalize each head, of each rank, before the gate");
    visit("dt_min", dt_min, "least initial step, >= 1e-4");
    visit("dt_max", dt_max, "largest initial step, >= dt_min");
    visit("mlp", mlp, "hidden width of a gated MLP behind the mixer; 0: none");
  }
  void validate(const std::string& prefix) const;
  /// What hangs on the width of the residual stream.
  void validate_for(std::int64_t channels, const std::string& prefix) const;

  std::int64_t inner(std::int64_t channels) const { return expand * channels; }
  /// S: pairs of the state that turn, with a rate each.
  std::int64_t angles() const {
    return static_cast<std::int64_t>(static_cast<double>(state) * rope_fraction) / 2;
  }
  std::int64_t chunk_tokens() const {
    return chunk > 0 ? chunk : std::max<std::int64_t>(1, 64 / mimo_rank);
  }
};

}  // namespace ghost
