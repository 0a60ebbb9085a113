#pragma once

#include <cstdint>

namespace ghost {

/// Times of one step with one region a device and one batch in flight, all in the same unit.
struct RegionTimes {
  std::int64_t regions = 1;    // K
  double forward = 0;          // f, of a region
  double input_backward = 0;   // b_x, of a region: cotangents of its inputs
  double weight_backward = 0;  // b_w, of a region: gradients of its parameters
  double readout = 0;          // H, forward and input backward of the readout
  double readout_weights = 0;  // h_w
  double pullback = 0;         // J, all columns of a region's Jacobian
  double exchange = 0;         // S, of pullbacks and their products
};

/// Critical paths: the latency of a step.
double joined_latency(const RegionTimes& times);  // serial; both gradients of a region together
double split_latency(const RegionTimes& times);   // serial; weight gradients off the chain
/// The top `serial_regions` below the last hand the vector on, the others use the scan. With K - 2
/// or more of them nothing is left to scan: the split chain.
double hybrid_latency(const RegionTimes& times, std::int64_t serial_regions);

/// The number of serial regions with the least latency.
std::int64_t best_serial_regions(const RegionTimes& times);

}  // namespace ghost
