#include "models/lbi/lbi_pass.h"

#include <algorithm>
#include <cmath>

#include "models/lbi/squared_distance.h"

namespace ghost {

LbiPass::LbiPass(const LbiModel& model, const ResidualPlan& plan)
    : model_(model), plan_(plan), canvas_tape_(plan), readout_(model, plan) {}

Tensor LbiPass::forward(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  slots_ = training_slots(model_.config(), tokens.dim(1));
  {
    const Context::Recording recording(ctx, &canvas_tape_);
    canvas_ = model_.parts().embed(ctx, tokens, /*start=*/0);
    initial_state_ = model_.initial_state(ctx, canvas_, slots_);
  }
  range_ = {.begin = model_.first_region(slots_), .end = model_.regions().size()};
  regions_.emplace(model_, range_, slots_, plan_);
  const Tensor features = regions_->forward(ctx, canvas_.detach(), initial_state_.detach());
  return readout_.forward(ctx, features, targets, slots_);
}

Tensor LbiPass::pullbacks(Context& ctx) {
  return regions_->pullbacks(ctx, range_.begin, range_.end - 1);
}

// Region `begin`'s own pullback is not needed: what it would tell comes out of its backward pass.
Tensor LbiPass::backward_by_scan(Context& ctx, std::size_t begin, std::size_t end,
                                 const Tensor& seed, BackwardReport& report) {
  if (end - begin < 2) {
    return regions_->backward(ctx, begin, end, seed);
  }
  const Tensor matrices = regions_->pullbacks(ctx, begin + 1, end);
  const Tensor adjoints =  // of the states of regions begin + 1 to end
      apply_matrices(ctx, suffix_products(ctx, matrices, model_.config().suffix), seed);
  report.pullbacks = matrices.dim(0);
  double squares = 0;
  Tensor dstate;
  for (std::size_t k = begin; k < end; ++k) {
    const auto next = static_cast<std::int64_t>(k - begin);
    const Tensor local =
        regions_->backward(ctx, k, adjoints.slice(next, next + 1).reshape(seed.shape()));
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
  const std::size_t last = range_.end - 1;
  Tensor adjoint = regions_->backward(ctx, last, readout_.backward(ctx, dloss));

  const std::size_t below = last - range_.begin;
  std::size_t num_serial = 0;
  switch (model_.config().backward) {
    case RegionsBackward::kScan:
      break;
    case RegionsBackward::kTape:
    case RegionsBackward::kSerialAdjoint:
      num_serial = below;
      break;
    case RegionsBackward::kHybrid:
      num_serial = std::min(
          below,
          static_cast<std::size_t>(model_.config().serial_regions.value_or(model_.num_layers())));
      break;
  }
  adjoint = regions_->backward(ctx, last - num_serial, last, adjoint);
  adjoint = backward_by_scan(ctx, range_.begin, last - num_serial, adjoint, report);

  Tensors outputs{canvas_};
  Tensors cotangents{as_cotangent(regions_->dcanvas())};
  if (canvas_tape_.records(initial_state_)) {
    outputs.push_back(initial_state_);
    cotangents.push_back(as_cotangent(adjoint));
  }
  canvas_tape_.pull(ctx, outputs, cotangents, {}, Tape::Parameters::kAccumulate);
  canvas_tape_.clear();
  return report;
}

}  // namespace ghost
