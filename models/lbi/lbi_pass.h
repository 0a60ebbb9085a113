#pragma once

#include <optional>

#include "models/lbi/lbi_model.h"
#include "models/lbi/regions_pass.h"

namespace ghost {

/// A forward and a backward pass through a model whose regions have a tape each: canvas and initial
/// state, the regions, the readout. Backward sends no cotangent through two regions in turn unless
/// the engine says so: adjoints of the states come from suffix products of region Jacobians, then
/// each region finishes by itself.
///
///   seed    g_(K-1), from the readout through the last region
///   scan    g_(k+1) = P_(k+1) ... P_(K-2) g_(K-1)
///   local   region k with cotangent g_(k+1): its parameters, its share of the canvas's cotangent
///   canvas  the sum of the shares, and the initial state's with cotangent g_0
class LbiPass {
 public:
  /// The model must outlive the pass.
  LbiPass(const LbiModel& model, const ResidualPlan& plan);

  /// Mean loss [1] over the scored positions.
  Tensor forward(Context& ctx, const Tensor& tokens, const Tensor& targets);
  /// Adds the gradients of all parameters for the loss's cotangent [1]. Once.
  BackwardReport backward(Context& ctx, const Tensor& dloss);

  /// Pullbacks P_k of all regions below the last, [K - 1, B, S r, S r]; between forward and
  /// backward.
  Tensor pullbacks(Context& ctx);

 private:
  /// As RegionsPass::backward, but each region for itself; counts and checks in `report`.
  Tensor backward_by_scan(Context& ctx, std::size_t begin, std::size_t end, const Tensor& seed,
                          BackwardReport& report);

  const LbiModel& model_;
  Slots slots_;
  ResidualPlan plan_;
  Tape canvas_tape_;
  RegionRange range_;  // regions that run
  std::optional<RegionsPass> regions_;
  ReadoutPass readout_;
  Tensor canvas_;
  Tensor initial_state_;
};

}  // namespace ghost
