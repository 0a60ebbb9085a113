#include "tools/monitor/alarm_rules.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "engine/config/check_range.h"

namespace ghost {
namespace {

/// Observations before a jump away from the mean means anything.
constexpr double kLeastObservations = 30;
/// Smallest deviation of log z_fro that counts as one: below are roundings.
constexpr double kLeastDeviation = 1e-3;
/// Relative fall of the smoothed loss that counts as an improvement.
constexpr double kImprovement = 1e-3;

/// Since when a condition holds, 0 while it does not.
void track(double& since, bool holds, std::int64_t step) {
  if (!holds) {
    since = 0;
  } else if (since == 0) {
    since = static_cast<double>(step) + 1;
  }
}

bool has_held(double since, std::int64_t step, std::int64_t steps) {
  return since > 0 && static_cast<double>(step) + 1 - since >= static_cast<double>(steps);
}

/// |v - mean| in deviations, judged before `v` is taken into either.
void follow_activation(const AlarmConfig& config, std::int64_t step, double v, ModuleHistory& h) {
  if (!std::isfinite(v)) {
    track(h.jump_up, false, step);
    track(h.jump_down, false, step);
    return;
  }
  const double distance = v - h.mean;
  const bool is_jump =
      h.observations >= kLeastObservations && std::abs(distance) > std::log(config.jump) &&
      std::abs(distance) > config.deviations * std::max(h.deviation, kLeastDeviation);
  track(h.jump_up, is_jump && distance > 0, step);
  track(h.jump_down, is_jump && distance < 0, step);
  // A running mean at first, an exponential one from 1 / (1 - smoothing) observations on.
  h.observations += 1;
  const double share = std::max(1 - config.smoothing, 1 / h.observations);
  h.mean += share * distance;
  h.deviation += share * ((h.observations > 1 ? std::abs(distance) : 0) - h.deviation);

  const auto now = static_cast<double>(step) + 1;
  if (h.window_step == 0) {
    h.window_step = now;
    h.window_mean = h.mean;
  } else if (now - h.window_step >= static_cast<double>(config.window)) {
    h.slope = (h.mean - h.window_mean) / (now - h.window_step);
    h.has_slope = 1;
    h.window_step = now;
    h.window_mean = h.mean;
  }
}

void follow_loss(const AlarmConfig& config, std::int64_t step, double loss, RunHistory& run) {
  if (!std::isfinite(loss)) {
    return;
  }
  if (run.has_loss == 0) {
    run = {.first_loss = loss,
           .has_loss = 1,
           .smoothed_loss = loss,
           .best_loss = loss,
           .best_step = static_cast<double>(step),
           .large_loss = 0};
  }
  constexpr double kShare = 0.1;
  run.smoothed_loss += kShare * (loss - run.smoothed_loss);
  if (run.smoothed_loss < run.best_loss - kImprovement * std::abs(run.best_loss)) {
    run.best_loss = run.smoothed_loss;
    run.best_step = static_cast<double>(step);
  }
  track(run.large_loss, run.first_loss > 0 && loss > config.diverged * run.first_loss, step);
}

using Finding = std::optional<std::string>;  // what a rule has found, for people

Finding find_nonfinite(double loss, const ModuleNumbers& now) {
  if (!std::isfinite(loss)) {
    return fmt::format("the loss is {}", loss);
  }
  if (!std::isfinite(now.output_norm)) {
    return fmt::format("the norm of the outputs is {}", now.output_norm);
  }
  if (std::isinf(now.grad_norm) || (std::isnan(now.grad_norm) && std::isfinite(now.weight_norm))) {
    return fmt::format("the norm of the gradient is {}", now.grad_norm);
  }
  return {};
}

Finding find_vanishing(const AlarmConfig& config, std::int64_t step, double loss,
                       const ModuleNumbers& now, const ModuleHistory& h) {
  if (has_held(h.small_gradient, step, config.gradient_steps)) {
    return fmt::format("|gradient| |weight| / loss is {:.2g}, below {:.2g} for {} steps",
                       now.grad_norm * now.weight_norm / loss, config.vanishing,
                       config.gradient_steps);
  }
  if (has_held(h.jump_down, step, config.jump_steps)) {
    return fmt::format("log z_fro is {:.3g}, {:.3g} below its mean, whose deviation is {:.2g}",
                       now.log_z_fro, h.mean - now.log_z_fro, h.deviation);
  }
  return {};
}

Finding find_exploding(const AlarmConfig& config, std::int64_t step, double loss,
                       const ModuleNumbers& now, const RunHistory& run, const ModuleHistory& h) {
  if (has_held(h.large_gradient, step, config.gradient_steps)) {
    return fmt::format(
        "|gradient| |weight| / max(loss, first loss) is {:.3g}, above {:.3g} for {}"
        " steps",
        now.grad_norm * now.weight_norm / std::max(loss, run.first_loss), config.exploding,
        config.gradient_steps);
  }
  // Of the loss, the modules are to blame whose outputs have grown.
  if (has_held(run.large_loss, step, config.gradient_steps) &&
      now.output_norm > config.diverged * h.first_output) {
    return fmt::format(
        "the loss is {:.3g}, above {:.3g} times its first for {} steps, and the outputs have grown "
        "by a factor of {:.3g}",
        loss, config.diverged, config.gradient_steps, now.output_norm / h.first_output);
  }
  if (has_held(h.jump_up, step, config.jump_steps)) {
    return fmt::format("log z_fro is {:.3g}, {:.3g} above its mean, whose deviation is {:.2g}",
                       now.log_z_fro, now.log_z_fro - h.mean, h.deviation);
  }
  return {};
}

Finding find_stagnation(const AlarmConfig& config, std::int64_t step, const RunHistory& run,
                        const ModuleHistory& h) {
  const double unimproved = static_cast<double>(step) - run.best_step;
  if (run.has_loss == 0 || h.has_slope == 0 || std::abs(h.slope) >= config.slope ||
      unimproved < static_cast<double>(config.patience) ||
      run.smoothed_loss <= config.stuck * run.first_loss) {
    return {};
  }
  return fmt::format(
      "log z_fro changes by {:.2g} a step, and the loss, {:.4g}, has not improved "
      "for {:.0f} steps",
      h.slope, run.smoothed_loss, unimproved);
}

Finding find_collapse(const AlarmConfig& config, std::int64_t step, const ModuleNumbers& now,
                      const ModuleHistory& h) {
  if (!has_held(h.collapsed, step, config.collapse_steps)) {
    return {};
  }
  return fmt::format(
      "stable rank of Y is {:.3g} and {:.2g} of the outputs' energy differs between "
      "rows, for {} steps",
      now.y_stable_rank, now.row_spread, config.collapse_steps);
}

void follow_module(const AlarmConfig& config, std::int64_t step, double loss,
                   const ModuleNumbers& now, const RunHistory& run, ModuleHistory& h) {
  if (h.observations == 0 && h.first_output == 0) {
    h.first_output = std::isfinite(now.output_norm) ? now.output_norm : 0;
  }
  follow_activation(config, step, now.log_z_fro, h);
  // NaN compares as false: what is not known raises nothing.
  const double product = now.grad_norm * now.weight_norm;
  track(h.small_gradient, loss > 0 && product < config.vanishing * loss, step);
  track(h.large_gradient,
        run.first_loss > 0 && product > config.exploding * std::max(loss, run.first_loss), step);
  track(h.collapsed, now.y_stable_rank < config.stable_rank && now.row_spread < config.row_spread,
        step);
}

}  // namespace

void AlarmConfig::validate(const std::string& prefix) const {
  check_range(smoothing >= 0 && smoothing < 1, prefix + "smoothing", smoothing, "0 to below 1");
  check_range(deviations > 0, prefix + "deviations", deviations, "a positive number");
  check_range(jump >= 1, prefix + "jump", jump, "1 or more");
  check_range(jump_steps >= 0, prefix + "jump_steps", jump_steps, "zero or a positive integer");
  check_range(vanishing >= 0, prefix + "vanishing", vanishing, "zero or a positive number");
  check_range(exploding > 0, prefix + "exploding", exploding, "a positive number");
  check_range(diverged > 1, prefix + "diverged", diverged, "a number above 1");
  check_range(gradient_steps >= 0, prefix + "gradient_steps", gradient_steps,
              "zero or a positive integer");
  check_range(slope >= 0, prefix + "slope", slope, "zero or a positive number");
  check_range(window > 0, prefix + "window", window, "a positive integer");
  check_range(patience > 0, prefix + "patience", patience, "a positive integer");
  check_range(stuck >= 0, prefix + "stuck", stuck, "zero or a positive number");
  check_range(stable_rank >= 1, prefix + "stable_rank", stable_rank, "1 or more");
  check_range(row_spread >= 0, prefix + "row_spread", row_spread, "zero or a positive number");
  check_range(collapse_steps >= 0, prefix + "collapse_steps", collapse_steps,
              "zero or a positive integer");
}

std::vector<Alarm> judge(const AlarmConfig& config, std::int64_t step, double loss,
                         std::span<const ModuleNumbers> modules, RunHistory& run,
                         std::span<ModuleHistory> histories) {
  assert(modules.size() == histories.size());
  follow_loss(config, step, loss, run);
  std::vector<Alarm> changes;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const ModuleNumbers& now = modules[i];
    ModuleHistory& history = histories[i];
    follow_module(config, step, loss, now, run, history);
    const std::array<Finding, kNumAlarmKinds> found = {
        find_nonfinite(loss, now), find_vanishing(config, step, loss, now, history),
        find_exploding(config, step, loss, now, run, history),
        find_stagnation(config, step, run, history), find_collapse(config, step, now, history)};
    for (std::size_t kind = 0; kind < kNumAlarmKinds; ++kind) {
      constexpr double kNever = 0;
      constexpr double kOn = 1;
      constexpr double kOff = 2;
      double& state = history.state[kind];
      const bool was_on = state == kOn;
      if (found[kind].has_value() != was_on) {
        changes.push_back({.kind = static_cast<AlarmKind>(kind),
                           .module = i,
                           .is_on = !was_on,
                           .is_first = state == kNever,
                           .detail = found[kind].value_or("")});
        state = was_on ? kOff : kOn;
      }
    }
  }
  return changes;
}

}  // namespace ghost
