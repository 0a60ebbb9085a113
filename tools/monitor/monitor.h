#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/autograd/state_store.h"
#include "engine/io/weights.h"
#include "tools/monitor/activation_statistics.h"
#include "tools/monitor/alarm_rules.h"
#include "tools/monitor/correlation.h"
#include "tools/monitor/exact_gradients.h"
#include "tools/monitor/gradient_statistics.h"
#include "tools/monitor/jacobian_watch.h"
#include "tools/monitor/monitor_config.h"
#include "tools/monitor/monitored_modules.h"

namespace ghost {

/// Stand-ins for the gradient norm, whose correlation with it is measured and not assumed.
inline constexpr std::array<std::string_view, 3> kProxies = {"z_fro", "act_norm",
                                                             "grad_sketch_norm"};

/// Pearson's correlation of each proxy with the exact gradient norm, in the order of kProxies.
struct ProxyCorrelations {
  std::array<double, kProxies.size()> overall{};  // all modules and observations in one
  std::vector<std::array<double, kProxies.size()>> modules;
  std::int64_t observations = 0;
};

/// One observation: what metrics.jsonl and the console get. Modules in the monitor's order.
struct MonitorRecord {
  std::int64_t step = 0;  // steps done
  std::vector<ActivationNumbers> activations;
  std::vector<GradientNumbers> gradients;
  std::vector<GradientAgreement> agreement;  // with monitor.exact; else empty
  std::vector<Alarm> alarms;
  RegionJacobians jacobians;
};

/// Watches a run that trains as if nobody watched: sketches of activations, statistics of exact
/// gradients, alarms. Every `every` steps one observation; nothing happens in the steps between.
/// docs/monitoring.md says what the numbers mean.
class Monitor {
 public:
  struct Setup {
    MonitorConfig config;
    std::uint64_t seed = 0;
    std::int64_t micro_steps = 1;
    std::int64_t replica = 0;
    std::int64_t replicas = 1;
    DType dtype = DType::kF32;  // of the state
    std::function<void(std::span<double>)> sum_over_replicas;
  };

  /// `forward` runs the model once with the context it is given, a dry one. The parameters, laid
  /// out already, must outlive the monitor. Throws ghost::ConfigError as MonitoredModules.
  Monitor(Context& ctx, const ParameterStore& parameters, Setup setup,
          const MonitoredModules::Forward& forward);

  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// Whether step `step`, counted from 0, is observed.
  bool is_due(std::int64_t step) const { return step % setup_.config.every == 0; }

  // Of an observed step, in this order.
  void begin_step();
  /// Until `watch` is empty again.
  void watch(std::optional<ActivationStatistics::Watch>& watch, Context& ctx,
             std::int64_t micro_step) {
    watch.emplace(activations_, ctx, micro_step);
  }
  /// Complete gradients, before the update.
  void observe_gradients(const Context& ctx) { gradients_.observe(ctx); }
  /// Step `step`, counted from 0. Collective over replicas. Waits for a GPU.
  MonitorRecord finish(const Context& ctx, std::int64_t step, double loss);

  const std::vector<MonitoredModule>& modules() const { return modules_.all(); }
  ProxyCorrelations correlations() const;

  /// For checkpoints. Its size does not depend on the number of steps or of rows.
  std::vector<NamedTensor> state() const;
  struct Bytes {
    std::int64_t activation_sketches = 0;
    std::int64_t gradient_sketches = 0;
    std::int64_t rest = 0;  // alarms, correlations, counters
    std::int64_t total() const { return activation_sketches + gradient_sketches + rest; }
  };
  Bytes bytes() const;

 private:
  Tensor run_state() const;
  Tensor alarm_state() const;
  Tensor correlation_state() const;
  std::vector<Alarm> judge_modules(double loss, const MonitorRecord& record);
  void correlate(const MonitorRecord& record);

  Setup setup_;
  MonitoredModules modules_;
  mutable StateStore store_;
  ActivationStatistics activations_;
  GradientStatistics gradients_;
};

}  // namespace ghost
