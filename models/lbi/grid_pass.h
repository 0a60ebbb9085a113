#pragma once

#include <optional>

#include "models/lbi/region_messages.h"
#include "models/lbi/regions_pass.h"

namespace ghost {

/// One rank's share of LbiPass: forward and backward through its own regions, everything else by
/// messages. A rank below the seed's owner makes its pullback as soon as its forward pass is over,
/// while later regions still run. Whoever others wait for takes the cotangent of its input state
/// first and its parameter gradients then.
class GridPass {
 public:
  /// Model and messages must outlive the pass. Parameters of `own` regions are resident, those of
  /// the initial state on the first rank, of embedding and readout on the last.
  GridPass(const LbiModel& model, RegionMessages& messages, RegionRange own,
           const ResidualPlan& plan);

  /// Mean loss [1] over the scored positions, on the last rank. Elsewhere its place, 0 until the
  /// backward pass has brought it.
  Tensor forward(Context& ctx, const Tensor& tokens, const Tensor& targets);
  /// Adds the gradients of the parameters that are here. Once.
  BackwardReport backward(Context& ctx, const Tensor& dloss);

 private:
  /// Product of the own regions' pullbacks, [1, B, S r, S r]; zeros on the first rank.
  Tensor own_pullback(Context& ctx);
  /// Cotangent of this rank's output.
  Tensor output_cotangent(Context& ctx, const Tensor& dloss);
  /// The own regions' backward passes, after the cotangent of the input state has been sent; it.
  Tensor hand_on_and_backward(Context& ctx, const Tensor& doutput);

  const LbiModel& model_;
  RegionMessages& messages_;
  RegionRange own_;
  ResidualPlan plan_;
  Slots slots_;
  Tape canvas_tape_;  // of the first rank: the initial state; of the last: the embedding
  std::optional<RegionsPass> regions_;
  ReadoutPass readout_;   // last rank
  Tensor embedded_;       // last rank
  Tensor canvas_;         // first rank: as its tape knows it
  Tensor initial_state_;  // first rank
  Tensor output_;         // what this rank's regions return
  Tensor pullback_;       // of the own regions, [1, B, S r, S r]; below the seed's owner
  Tensor suffix_;         // from the seed to the output, [1, B, S r, S r]; undefined: they are one
  Tensor loss_;
};

/// Dtype of the canvas and its cotangent: that of activations. States, pullbacks and adjoints are
/// of its statistic_dtype (never bf16).
DType canvas_dtype(const LbiModel& model, RegionRange own);

}  // namespace ghost
