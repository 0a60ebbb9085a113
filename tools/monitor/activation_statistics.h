#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/autograd/state_store.h"
#include "ops/three_sketch.h"
#include "tools/monitor/monitored_modules.h"
#include "tools/monitor/spectrum.h"

namespace ghost {

/// What the sketches say of a linear's activations: Y and Z are of its output before any
/// activation function, averaged over observations.
struct ActivationNumbers {
  double z_fro = 0;             // ||Z||
  double corrected_z_fro = 0;   // ||Z|| / (1 - beta^t)
  double act_norm = 0;          // ||Z / Psi|| / (sqrt(s) (1 - beta^t)), estimates ||Abar||
  double input_norm = 0;        // ||X|| / (sqrt(k) (1 - beta^t)), the same of the linear's input
  double y_stable_rank = 0;     // in [1, k]
  double y_effective_rank = 0;  // in [1, k]
  // Of this observation alone:
  double output_norm = 0;  // estimates ||A||
  double row_spread = 0;   // share of the outputs' energy that differs from row to row
};

/// EMA sketches X, Y, Z of the inputs and outputs of linears, taken in while forward passes run.
/// Rows are those of a whole step: micro-steps and replicas add up.
class ActivationStatistics {
 public:
  struct Setup {
    ThreeSketchLayout layout;  // k and s; the probes are not tied
    ProbeNames probes;
    double beta = 0;
    std::int64_t micro_steps = 1;
    std::int64_t replica = 0;
    std::int64_t replicas = 1;
    DType dtype = DType::kF32;  // of the state
    /// Adds numbers up over the replicas, where there are several.
    std::function<void(std::span<double>)> sum_over_replicas;
  };

  /// On the state of `store`. What is given must outlive it.
  ActivationStatistics(StateStore& store, const MonitoredModules& modules, Setup setup);

  void begin_step();
  /// Observes forward passes of `ctx` for its lifetime.
  class Watch {
   public:
    Watch(ActivationStatistics& statistics, Context& ctx, std::int64_t micro_step);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    ActivationStatistics& statistics_;
    Context& ctx_;
  };

  /// After the forward passes of a step, in the order of the modules. Where an activation is not
  /// finite, the module's averages start again. Collective over replicas.
  std::vector<ActivationNumbers> read(const Context& ctx);

  /// Of the sketches: k d_in + (k + s) d_out numbers a module.
  std::int64_t sketch_bytes() const;

 private:
  struct Sketches {
    ThreeSketch input;   // X
    ThreeSketch output;  // Y and Z
  };
  /// Of the rows of a call: [rows, k] for inputs, [rows, k + s] for outputs.
  struct Probes {
    Tensor input;
    Tensor output;
    std::vector<double> omega_sums;  // 1^T Omega of these rows
  };
  struct Progress {
    bool has_begun = false;          // this step
    std::int64_t next_row = 0;       // of this forward pass
    Tensor before;                   // Y and Z before this step
    std::vector<double> omega_sums;  // 1^T Omega of the step's rows
  };

  Sketches sketches_of(std::size_t module) const;
  void take(const Context& ctx, const Node& node, const Tensors& outputs);
  const Probes& probes_for(const Context& ctx, std::int64_t first_row, std::int64_t rows,
                           DType dtype);
  void average_over_replicas();
  ActivationNumbers numbers_of(std::size_t module, const Sketches& sketches) const;

  StateStore& store_;
  const MonitoredModules& modules_;
  Setup setup_;
  std::int64_t micro_step_ = 0;
  std::vector<Progress> progress_;
  std::map<std::pair<std::int64_t, std::int64_t>, Probes> probes_;  // by first row and rows
};

}  // namespace ghost
