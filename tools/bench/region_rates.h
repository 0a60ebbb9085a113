#pragma once

#include <cstdint>
#include <vector>

#include "models/lbi/cost_model.h"
#include "tools/run/run_config.h"

namespace ghost {

/// A region's whole Jacobian by that many cotangents at once.
struct PullbackTime {
  std::int64_t columns = 0;
  double seconds = 0;
};

/// What a region of a model takes on a device, alone: medians in seconds, on random numbers.
struct RegionRates {
  std::int64_t layers = 0;     // of the region
  std::int64_t width = 0;      // columns of its Jacobian, S r
  double forward = 0;          // f
  double input_backward = 0;   // b_x: cotangents of state and canvas, no gradients
  double weight_backward = 0;  // b_w: what the gradients of its parameters add
  double readout = 0;          // forward and backward of final norm and head, gradients included
  std::vector<PullbackTime> pullbacks;  // 1, 2, 4, ... columns at once, and all

  double backward() const { return input_backward + weight_backward; }
  /// Time of one column among many over that of a cotangent on its own; "gamma" of the cost model.
  double column_ratio(const PullbackTime& pullback) const {
    return pullback.seconds / (static_cast<double>(width) * input_backward);
  }
};

/// How the columns of region Jacobians are measured: all that pay, or as the config forms them.
enum class PullbackColumns { kSeveral, kConfigured };

/// Measures the first region and the readout of `config.model`, which has regions. Throws
/// ghost::ConfigError where its variant has no states at that length.
RegionRates measure_region_rates(const Config& config, std::int64_t vocab_size,
                                 const Device& device, PullbackColumns columns);

/// The cost model's times when `regions` of them are spread over that many ranks, with the last of
/// the measured pullbacks. `exchange`: seconds for the pullbacks among ranks.
RegionTimes times_on_ranks(const RegionRates& rates, std::int64_t regions, std::int64_t ranks,
                           double exchange);

}  // namespace ghost
