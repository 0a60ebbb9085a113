#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/config/enum_names.h"

namespace ghost {

enum class AlarmKind { kNonFinite, kVanishing, kExploding, kStagnation, kCollapse };
inline constexpr std::size_t kNumAlarmKinds = 5;

template <>
struct EnumNames<AlarmKind> {
  static constexpr EnumName<AlarmKind> kNames[] = {{AlarmKind::kNonFinite, "non_finite"},
                                                   {AlarmKind::kVanishing, "vanishing"},
                                                   {AlarmKind::kExploding, "exploding"},
                                                   {AlarmKind::kStagnation, "stagnation"},
                                                   {AlarmKind::kCollapse, "collapse"}};
};

/// The `monitor.alarms` section; docs/monitoring.md has the rules. Spans are in optimizer steps,
/// whatever the interval of the observations: a condition has held for n steps once all
/// observations over n steps show it.
struct AlarmConfig {
  double smoothing = 0.99;
  double deviations = 4;
  double jump = 4;
  std::int64_t jump_steps = 10;
  double vanishing = 1e-5;
  double exploding = 300;
  double diverged = 2;
  std::int64_t gradient_steps = 30;
  double slope = 1e-4;
  std::int64_t window = 100;
  std::int64_t patience = 500;
  double stuck = 0.8;
  double stable_rank = 1.1;
  double row_spread = 1e-3;
  std::int64_t collapse_steps = 50;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("smoothing", smoothing, "of mean and deviation of log z_fro, 0 to 1");
    visit("deviations", deviations, "jump of log z_fro: so many deviations from its mean, > 0");
    visit("jump", jump, "... and at least by this factor, >= 1");
    visit("jump_steps", jump_steps, "... for so many steps, >= 0");
    visit("vanishing", vanishing, "vanishing: |gradient| |weight| / loss stays below, >= 0");
    visit("exploding", exploding, "exploding: |gradient| |weight| / max(loss, first) stays above");
    visit("diverged", diverged, "exploding: loss / first loss stays above, > 1");
    visit("gradient_steps", gradient_steps, "... each for so many steps, >= 0");
    visit("slope", slope, "stagnation: change of the mean of log z_fro a step stays below, >= 0");
    visit("window", window, "... over so many steps, > 0");
    visit("patience", patience, "... and the loss has not improved for so many steps, > 0");
    visit("stuck", stuck, "... and is above this share of the first loss, >= 0");
    visit("stable_rank", stable_rank, "collapse: stable rank of Y stays below, >= 1");
    visit("row_spread", row_spread, "... and the share of energy that differs between rows, >= 0");
    visit("collapse_steps", collapse_steps, "... for so many steps, >= 0");
  }
  void validate(const std::string& prefix) const;
};

/// What one observation says of a module. NaN stands for what was not measured, unless said
/// otherwise: a rule that needs it then sees nothing.
struct ModuleNumbers {
  double log_z_fro = 0;  // of ||Z|| / (1 - beta^t)
  double y_stable_rank = 0;
  double row_spread = 0;   // share of the output's energy that differs between rows
  double output_norm = 0;  // of this observation's outputs; not finite raises an alarm
  double grad_norm = 0;
  double weight_norm = 0;
};

/// What the rules remember of a module, all of it numbers: rows of a tensor of doubles, zeros at
/// the start. Steps are stored plus one, zero being never.
struct ModuleHistory {
  double observations = 0;
  double mean = 0;       // of log_z_fro, corrected for its start
  double deviation = 0;  // mean distance from that mean
  double first_output = 0;
  double window_mean = 0;  // the mean when the window began
  double window_step = 0;
  double slope = 0;  // over the last whole window; used where has_slope
  double has_slope = 0;
  /// Since when each of the conditions holds.
  double jump_up = 0;
  double jump_down = 0;
  double small_gradient = 0;
  double large_gradient = 0;
  double collapsed = 0;
  /// Of each kind of alarm: 0 never on, 1 on, 2 off again.
  std::array<double, kNumAlarmKinds> state{};
};

/// Likewise of the run.
struct RunHistory {
  double first_loss = 0;
  double has_loss = 0;
  double smoothed_loss = 0;
  double best_loss = 0;
  double best_step = 0;
  double large_loss = 0;
};

/// A change: an alarm goes on, or off when its rule no longer finds anything.
struct Alarm {
  AlarmKind kind;
  std::size_t module;  // index of the observation
  bool is_on;
  bool is_first;       // on for the first time in this module
  std::string detail;  // of an alarm that goes on: number and bound
};

/// Every rule of section `config` on one observation, of `step` (steps done), its loss and its
/// modules. Says only what has changed.
std::vector<Alarm> judge(const AlarmConfig& config, std::int64_t step, double loss,
                         std::span<const ModuleNumbers> modules, RunHistory& run,
                         std::span<ModuleHistory> histories);

}  // namespace ghost
