#include "models/lbi/lbi_pass.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "models/lbi/squared_distance.h"

namespace ghost {

LbiPass::LbiPass(const LbiModel& model, const ResidualPlan& plan)
    : model_(model), plan_(plan), canvas_tape_(plan), readout_tape_(plan) {}

Tensor LbiPass::forward(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  slots_ = training_slots(model_.config(), tokens.dim(1));
  first_ = model_.first_region(slots_);
  {
    const Context::Recording recording(ctx, &canvas_tape_);
    canvas_ = model_.parts().embed(ctx, tokens, /*start=*/0);
    initial_state_ = model_.initial_state(ctx, canvas_, slots_);
  }
  Tensor state = initial_state_.detach();
  const Tensor canvas = canvas_.detach();
  const std::size_t num_regions = model_.regions().size();
  regions_.resize(num_regions);
  for (std::size_t k = first_; k < num_regions; ++k) {
    regions_[k] = std::make_unique<RegionPass>(model_.regions()[k], slots_, plan_);
    const State output = k + 1 < num_regions ? State::kState : State::kFeatures;
    state = regions_[k]->forward(ctx, canvas, state, output);
  }
  features_ = readout_tape_.watch(state);  // the last region's output
  const Context::Recording recording(ctx, &readout_tape_);
  loss_ = model_.parts().readout_loss(ctx, features_,
                                      scored_targets(ctx, targets, slots_.first_scored));
  return loss_.detach();
}

Tensor LbiPass::pullbacks(Context& ctx) { return pullbacks(ctx, 0, regions_.size() - 1); }

Tensor LbiPass::pullbacks(Context& ctx, std::size_t begin, std::size_t end) {
  Tensor all;
  for (std::size_t k = begin; k < end; ++k) {
    const Tensor one = regions_[k]->pullback(ctx, model_.config().columns);
    const auto at = static_cast<std::int64_t>(k - begin);
    if (!all.defined()) {
      all = ctx.empty(one.shape().with_first(static_cast<std::int64_t>(end - begin)), one.dtype());
    }
    copy(all.slice(at, at + 1), one);
  }
  return all;
}

Tensor LbiPass::backward_region(Context& ctx, std::size_t region, const Tensor& doutput) {
  const RegionPass::Cotangents share = regions_[region]->backward(ctx, doutput);
  if (!dcanvas_.defined()) {
    dcanvas_ = ctx.empty_like(share.canvas);
    copy(dcanvas_, share.canvas);
  } else {
    accumulate(dcanvas_, share.canvas);
  }
  return share.state;
}

Tensor LbiPass::backward_serially(Context& ctx, std::size_t begin, std::size_t end,
                                  Tensor cotangent) {
  for (std::size_t k = end; k-- > begin;) {
    cotangent = backward_region(ctx, k, cotangent);
  }
  return cotangent;
}

// Region `begin`'s own pullback is not needed: what it would tell comes out of its backward pass.
Tensor LbiPass::backward_by_scan(Context& ctx, std::size_t begin, std::size_t end,
                                 const Tensor& seed, BackwardReport& report) {
  if (end - begin < 2) {
    return backward_serially(ctx, begin, end, seed);
  }
  const Tensor matrices = pullbacks(ctx, begin + 1, end);
  const Tensor adjoints =  // of the states of regions begin + 1 to end
      apply_matrices(ctx, suffix_products(ctx, matrices, model_.config().suffix), seed);
  report.pullbacks = matrices.dim(0);
  double squares = 0;
  Tensor dstate;
  for (std::size_t k = begin; k < end; ++k) {
    const auto next = static_cast<std::int64_t>(k - begin);
    const Tensor local =
        backward_region(ctx, k, adjoints.slice(next, next + 1).reshape(seed.shape()));
    if (k == begin) {
      dstate = local;
    } else if (!ctx.device().is_dry) {
      squares += squared_distance(local, adjoints.slice(next - 1, next));
    }
  }
  report.adjoint_rms = std::sqrt(squares / static_cast<double>(report.pullbacks * seed.numel()));
  return dstate;
}

BackwardReport LbiPass::backward(Context& ctx, const Tensor& dloss) {
  BackwardReport report;
  const Tensor dfeatures =
      readout_tape_.pull(ctx, std::span(&loss_, 1), std::span(&dloss, 1), std::span(&features_, 1),
                         Tape::Parameters::kAccumulate)[0];
  readout_tape_.clear();
  const std::size_t last = regions_.size() - 1;
  Tensor adjoint = backward_region(ctx, last, dfeatures.reshape(features_.shape()));

  const std::size_t below = last - first_;
  std::size_t num_serial = 0;
  switch (model_.config().backward) {
    case RegionsBackward::kScan:
      break;
    case RegionsBackward::kTape:
    case RegionsBackward::kSerialAdjoint:
      num_serial = below;
      break;
    case RegionsBackward::kHybrid:
      num_serial = std::min(below, static_cast<std::size_t>(model_.config().serial_regions));
      break;
  }
  adjoint = backward_serially(ctx, last - num_serial, last, adjoint);
  adjoint = backward_by_scan(ctx, first_, last - num_serial, adjoint, report);

  Tensors outputs{canvas_};
  Tensors cotangents{dcanvas_.reshape(dcanvas_.shape().with_first(1))};
  if (canvas_tape_.records(initial_state_)) {
    outputs.push_back(initial_state_);
    cotangents.push_back(adjoint.reshape(adjoint.shape().with_first(1)));
  }
  canvas_tape_.pull(ctx, outputs, cotangents, {}, Tape::Parameters::kAccumulate);
  canvas_tape_.clear();
  return report;
}

}  // namespace ghost
