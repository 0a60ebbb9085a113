#include "ops/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/config/check_range.h"

namespace ghost {

void ScheduleConfig::validate(const std::string& prefix) const {
  check_range(peak > 0 && std::isfinite(peak), prefix + "peak", peak, "a positive number");
  check_range(warmup_steps >= 0, prefix + "warmup_steps", warmup_steps, "an integer >= 0");
  check_range(final_fraction >= 0 && final_fraction <= 1, prefix + "final_fraction", final_fraction,
              "a number from 0 to 1");
  check_range(decay_steps.value_or(0) >= 0, prefix + "decay_steps", decay_steps.value_or(0),
              "an integer >= 0");
}

double learning_rate(const ScheduleConfig& schedule, std::int64_t step, std::int64_t total_steps) {
  const std::int64_t warmup = schedule.warmup_steps;
  if (step < warmup) {
    return schedule.peak * static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  }
  const double end_value = schedule.peak * schedule.final_fraction;
  // Share of the way from `begin` to the end of the run, 0 to 1.
  const auto progress_from = [&](std::int64_t begin) {
    if (step >= total_steps) {
      return 1.0;
    }
    return step <= begin
               ? 0.0
               : static_cast<double>(step - begin) / static_cast<double>(total_steps - begin);
  };
  double decayed = 0;  // 0: peak, 1: end value
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      return schedule.peak;
    case ScheduleKind::kLinear:
      decayed = progress_from(warmup);
      break;
    case ScheduleKind::kCosine:
      decayed = 0.5 * (1 - std::cos(std::numbers::pi * progress_from(warmup)));
      break;
    case ScheduleKind::kWsd: {
      const std::int64_t decay_steps = schedule.decay_steps.value_or(total_steps / 5);
      decayed = progress_from(std::max(warmup, total_steps - decay_steps));
      break;
    }
  }
  return schedule.peak + decayed * (end_value - schedule.peak);
}

}  // namespace ghost
