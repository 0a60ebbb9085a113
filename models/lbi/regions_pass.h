#pragma once

#include <memory>
#include <vector>

#include "models/lbi/lbi_model.h"
#include "models/lbi/region_pass.h"

namespace ghost {

/// Consecutive regions [begin, end) of a model.
struct RegionRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Passes through consecutive regions, each with a tape of its own. Regions are named by their
/// index in the model.
class RegionsPass {
 public:
  /// Model and slots must outlive the pass.
  RegionsPass(const LbiModel& model, RegionRange range, const Slots& slots, ResidualPlan plan)
      : model_(model), range_(range), slots_(slots), plan_(std::move(plan)) {}

  /// All of them, from canvas [B, T, C] and input state [B, S, r] (undefined without slots): what
  /// the last one returns, features [B, T, C] if it is the model's last, else its state.
  Tensor forward(Context& ctx, const Tensor& canvas, Tensor state);

  /// P_k of regions [begin, end), one at least: [end - begin, B, S r, S r].
  Tensor pullbacks(Context& ctx, std::size_t begin, std::size_t end);

  /// RegionPass::adjoint of one region.
  Tensor adjoint(Context& ctx, std::size_t region, const Tensor& doutput);

  /// One region's own backward pass; the cotangent of its state. Once.
  Tensor backward(Context& ctx, std::size_t region, const Tensor& doutput);
  /// Those of regions [begin, end), the last one first; the cotangent of the first one's state.
  Tensor backward(Context& ctx, std::size_t begin, std::size_t end, Tensor doutput);

  /// Cotangent of the canvas, [B, T, C]: sum over the backward passes so far, one at least.
  const Tensor& dcanvas() const { return dcanvas_; }

 private:
  RegionPass& pass(std::size_t region) const { return *passes_[region - range_.begin]; }

  const LbiModel& model_;
  RegionRange range_;
  const Slots& slots_;
  ResidualPlan plan_;
  std::vector<std::unique_ptr<RegionPass>> passes_;
  Tensor dcanvas_;
};

/// The way from features to loss, on a tape of its own.
class ReadoutPass {
 public:
  /// The model must outlive the pass.
  ReadoutPass(const LbiModel& model, ResidualPlan plan) : model_(model), tape_(std::move(plan)) {}

  /// Mean loss [1] of features [B, T, C] over the scored positions.
  Tensor forward(Context& ctx, const Tensor& features, const Tensor& targets, const Slots& slots);
  /// Adds the gradients of final norm and head; cotangent of the features. Once.
  Tensor backward(Context& ctx, const Tensor& dloss);

 private:
  const LbiModel& model_;
  Tape tape_;
  Tensor features_;
  Tensor loss_;
};

}  // namespace ghost
