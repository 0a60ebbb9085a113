#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/config/enum_names.h"

namespace ghost {

enum class ScheduleKind { kConstant, kLinear, kCosine, kWsd };

template <>
struct EnumNames<ScheduleKind> {
  static constexpr EnumName<ScheduleKind> kNames[] = {
      {ScheduleKind::kConstant, "constant"},
      {ScheduleKind::kLinear, "linear"},
      {ScheduleKind::kCosine, "cosine"},
      {ScheduleKind::kWsd, "wsd"},
  };
};

/// Learning-rate schedule over optimizer steps (not micro-steps).
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 3e-4;
  std::int64_t warmup_steps = 200;
  double final_fraction = 0.1;              // of peak
  std::optional<std::int64_t> decay_steps;  // wsd; unset: a fifth of the run

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("kind", kind, "constant | linear | cosine | wsd");
    visit("peak", peak, "peak learning rate, > 0");
    visit("warmup_steps", warmup_steps, "linear from 0 to peak, >= 0");
    visit("final_fraction", final_fraction, "share of peak left at the end, 0 to 1");
    visit("decay_steps", decay_steps, "wsd: last steps that decay, >= 0; null: a fifth of all");
  }
  void validate(const std::string& prefix) const;  // throws ConfigError naming key and range
};

/// Learning rate of update `step`, from 0, in a run of `total_steps` updates.
///
///   warmup    peak (step + 1) / (warmup_steps + 1) while step < warmup_steps
///   constant  peak
///   linear    straight line from peak at step = warmup_steps to the end value at total_steps
///   cosine    half a cosine between the same points
///   wsd       peak, then a straight line over the last decay_steps (never into the warmup) to the
///             end value at total_steps
///
/// The end value is peak * final_fraction; it is reached one step after the last one, and holds
/// beyond. A run no longer than its warmup only warms up.
/// source  warmup and cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, indexed as in nanoGPT;
///         wsd: Hu et al. 2024, arXiv:2404.06395, with linear decay (Hägele et al. 2024,
///         arXiv:2405.18392, find 1 - sqrt slightly better; linear is the common choice)
double learning_rate(const ScheduleConfig& schedule, std::int64_t step, std::int64_t total_steps);

}  // namespace ghost
