#pragma once

#include <cstdint>
#include <vector>

#include "engine/autograd/state_store.h"
#include "ops/three_sketch.h"
#include "tools/monitor/monitored_modules.h"

namespace ghost {

/// What is known of a weight's gradient G [d_in, d_out] after an observation. NaN for modules whose
/// weight is no parameter.
struct GradientNumbers {
  double norm = 0;          // ||G||, exact
  double weight_norm = 0;   // ||W||, exact
  double mean_norm = 0;     // ||EMA G||, from its sketch
  double stable_rank = 0;   // of EMA G, from its sketch: at most q
  double signal_share = 0;  // ||EMA G||^2 / EMA ||G||^2
};

/// Exact norms of gradients and sketches of their averages over observations:
///
///   S <- beta S + (1 - beta) G Omega_g,   Omega_g [d_out, q] Gaussian, one for all modules
///   ||EMA G||^2 is ||S||^2 / q in expectation
class GradientStatistics {
 public:
  /// On the state of `store`. What is given must outlive it.
  GradientStatistics(StateStore& store, const std::vector<MonitoredModule>& modules,
                     const ProbeNames& probes, std::int64_t columns, double beta);

  /// Takes in the gradients of a step: complete ones, before an update. Reads them only; nothing
  /// waits for a GPU.
  void observe(const Context& ctx);

  /// Of the last observation, in the order of the modules. Where a gradient is not finite, its
  /// average starts again.
  std::vector<GradientNumbers> read(const Context& ctx);

  /// Of the sketches.
  std::int64_t sketch_bytes() const;

 private:
  ThreeSketch sketch_of(std::size_t module) const;

  StateStore& store_;
  const std::vector<MonitoredModule>& modules_;
  ProbeNames probes_;
  std::int64_t columns_;
  double beta_;
  Tensor sums_;  // [2, modules] f64: squares of gradients and of weights
};

}  // namespace ghost
