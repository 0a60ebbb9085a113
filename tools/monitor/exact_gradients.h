#pragma once

#include <vector>

#include "engine/autograd/context.h"
#include "tools/monitor/monitored_modules.h"

namespace ghost {

/// What a weight's gradient g, as the run forms it, has to do with the exact one G of the same
/// batch and weights. NaN where one of them is zero or the weight is no parameter.
struct GradientAgreement {
  double cosine = 0;  // <g, G> / (||g|| ||G||)
  double ratio = 0;   // ||g|| / ||G||
};

/// The exact gradients of monitored weights while a step forms its own.
class ExactGradients {
 public:
  /// The modules must outlive it.
  explicit ExactGradients(const std::vector<MonitoredModule>& modules) : modules_(modules) {}

  /// Copies the gradients that stand in the parameters, the exact ones, to the host.
  void take();
  /// Compares with those that stand there now, and lets go of the copies. In the order of modules;
  /// sums in f64. Waits for a GPU.
  std::vector<GradientAgreement> compare();

 private:
  const std::vector<MonitoredModule>& modules_;
  Tensors exact_;
};

}  // namespace ghost
