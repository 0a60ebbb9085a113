#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/autograd/context.h"
#include "engine/autograd/state_store.h"
#include "engine/io/checkpoint.h"
#include "models/model.h"
#include "models/replica_factors.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/optimizer.h"
#include "tools/monitor/jacobian_watch.h"
#include "tools/monitor/monitor.h"
#include "tools/run/batch.h"
#include "tools/run/run_config.h"
#include "tools/train/placement.h"

namespace ghost {

/// What one optimizer step did.
struct StepFacts {
  double loss = 0;       // mean over micro-steps and replicas, nats
  double grad_norm = 0;  // before clipping
  double lr = 0;
  std::int64_t sketch_rank = 0;  // of residuals.sketch for one micro-batch, or ema_sketch; 0: none
  bool is_finite = true;
  bool is_skipped = false;  // not finite, and on_nonfinite is skip: no update was made
  std::optional<MonitorRecord> observed{};  // of a monitored run, where the step was due
};

/// Fills inputs and targets of a micro-step; functions of spans of int32 or float serve too.
using FillBatch =
    std::function<void(std::int64_t micro_step, HostElements inputs, HostElements targets)>;

/// One model in training: forward and backward of every micro-step, norm, clipping, update. On a
/// dry device it allocates and computes nothing, and its meter shows what a real step would hold.
/// On a grid of ranks every member is collective; all ranks get the same facts.
class TrainingStep {
 public:
  /// Lays out the model's parameters, as far as they are here, and the optimizer's state. `model`
  /// and what `placement` borrows must outlive it.
  TrainingStep(const Config& config, Model& model, const Device& device,
               const Placement& placement = {});

  /// Step `step`, counted from 0.
  StepFacts run(std::int64_t step, const FillBatch& fill);

  /// What one batch of this replica gives, without a gradient; `rows` of it are filled, all where
  /// there is no number.
  BatchScore evaluate(const Batch::Fill& fill, std::optional<std::int64_t> rows = std::nullopt);

  /// Runs the forward passes of a step once more and names the first op whose output is not
  /// finite; failing that, or on a grid, the first parameter here whose gradient is not.
  std::string describe_nonfinite(std::int64_t step, const FillBatch& fill);

  Context& context() { return ctx_; }
  Model& model() { return model_; }
  /// What a checkpoint holds besides the model: the optimizer's state, behind `store.` what ways of
  /// keeping residuals remember, and behind `monitor.` what the monitor does.
  std::vector<NamedTensor> state() const;
  /// Where the tensors of a checkpoint go, with room for remembered ones that `state` does not have
  /// yet. Undefined are those that are passed over: of another monitor, and, on ranks that share a
  /// model's regions, what was remembered. A new monitor starts anew where there is nothing for it.
  std::vector<NamedTensor> places_for(std::span<const StoredTensor> stored);
  /// Null for a run that is not monitored.
  const Monitor* monitor() const { return monitor_.has_value() ? &*monitor_ : nullptr; }
  /// The tape of the last micro-step, after its backward pass.
  const Tape& tape() const { return tape_; }

 private:
  /// Whether the monitor watches a forward pass.
  enum class Seen { kNo, kYes };

  void load_batch(const FillBatch& fill, std::int64_t micro_step);
  void make_monitor();
  bool is_observed(std::int64_t step) const {
    return monitor_.has_value() && monitor_->is_due(step);
  }
  Tensor forward(std::int64_t micro_step, Seen seen);
  void accumulate_gradients(std::int64_t step, const FillBatch& fill, Tape& tape, Seen seen);
  void take_exact_gradients(std::int64_t step, const FillBatch& fill);
  StepNumbers reduce_numbers();

  Config config_;
  Model& model_;
  Placement placement_;
  Context ctx_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<ReplicaFactors> factors_;
  StateStore state_store_;
  std::optional<Monitor> monitor_;
  JacobianWatch jacobians_;
  std::optional<ExactGradients> exact_gradients_;  // with monitor.exact
  Tape tape_;
  Batch batch_;
  Tensor losses_;  // [micro_steps]
};

}  // namespace ghost
