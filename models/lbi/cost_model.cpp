#include "models/lbi/cost_model.h"

#include <algorithm>

namespace ghost {
namespace {

double backward(const RegionTimes& times) { return times.input_backward + times.weight_backward; }

double forward_of(const RegionTimes& times, std::int64_t regions) {
  return static_cast<double>(regions) * times.forward;
}

/// No schedule is faster than the last device's own work.
double floor_of(const RegionTimes& times) {
  return forward_of(times, times.regions) + times.readout + times.readout_weights + backward(times);
}

}  // namespace

// T_a = K f + H + h_w + K b
double joined_latency(const RegionTimes& times) {
  return forward_of(times, times.regions) + times.readout + times.readout_weights +
         static_cast<double>(times.regions) * backward(times);
}

// T_a' = K f + H + K b_x + b_w
double split_latency(const RegionTimes& times) {
  const double chain = forward_of(times, times.regions) + times.readout +
                       static_cast<double>(times.regions) * times.input_backward +
                       times.weight_backward;
  return std::max(chain, floor_of(times));
}

// T_d(s) = max(K f + H + b_x + s b_x, (K - 1 - s) f + J) + S + b
double hybrid_latency(const RegionTimes& times, std::int64_t serial_regions) {
  if (serial_regions >= times.regions - 2) {
    return split_latency(times);
  }
  const auto serial = static_cast<double>(serial_regions);
  const double seed =
      forward_of(times, times.regions) + times.readout + (1 + serial) * times.input_backward;
  const double latest_pullback =
      forward_of(times, times.regions - 1 - serial_regions) + times.pullback;
  return std::max(std::max(seed, latest_pullback) + times.exchange + backward(times),
                  floor_of(times));
}

std::int64_t best_serial_regions(const RegionTimes& times) {
  std::int64_t best = 0;
  for (std::int64_t s = 1; s <= times.regions - 2; ++s) {
    if (hybrid_latency(times, s) < hybrid_latency(times, best)) {
      best = s;
    }
  }
  return best;
}

}  // namespace ghost
