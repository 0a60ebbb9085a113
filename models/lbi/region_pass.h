#pragma once

#include "models/lbi/region.h"

namespace ghost {

/// One region's forward and backward pass, on a tape of its own: it needs the canvas and the state
/// that come in, and for its gradients the cotangent of what goes out. Nothing else of the model.
class RegionPass {
 public:
  /// `plan` says how residuals are kept. The region and the slots must outlive the pass.
  RegionPass(const Region& region, const Slots& slots, ResidualPlan plan)
      : region_(region), slots_(slots), tape_(std::move(plan)) {}

  /// What of the region's results goes on: the last region's features go into the readout, its
  /// state nowhere.
  enum class Output { kFeatures, kState };

  /// canvas [B, T, C], state [B, S, r] (undefined without slots). The result is not recorded
  /// outside: features [B, T, C] or the next state [B, S, r].
  Tensor forward(Context& ctx, const Tensor& canvas, const Tensor& state, Output output);

  /// Of the region's output kState:
  ///   P[b, i, j] = d(next state)[b, j] / d(state)[b, i],   [B, S r, S r]
  /// by S r cotangents, `columns` at once (0: all). Residuals stay.
  Tensor pullback(Context& ctx, std::int64_t columns);

  /// Cotangent of the state [B, S, r] for that of the output, its shape. No parameter gradients,
  /// residuals stay: for who has to hand the cotangent on before anything else.
  Tensor adjoint(Context& ctx, const Tensor& doutput);

  struct Cotangents {
    Tensor canvas;  // [B, T, C]
    Tensor state;   // [B, S, r]; undefined without slots
  };
  /// Adds the gradients of the region's parameters and frees the residuals.
  Cotangents backward(Context& ctx, const Tensor& doutput);

 private:
  const Region& region_;
  const Slots& slots_;
  Tape tape_;
  Tensor canvas_;
  Tensor state_;
  Tensor output_;
};

}  // namespace ghost
