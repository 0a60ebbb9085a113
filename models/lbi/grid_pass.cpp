#include "models/lbi/grid_pass.h"

#include <cmath>

#include "engine/tensor/primitives.h"
#include "models/lbi/squared_distance.h"

namespace ghost {
namespace {

Tensor as_cotangent(const Tensor& x) { return x.reshape(x.shape().with_first(1)); }

}  // namespace

GridPass::GridPass(const LbiModel& model, RegionMessages& messages, RegionRange own,
                   const ResidualPlan& plan)
    : model_(model),
      messages_(messages),
      own_(own),
      plan_(plan),
      canvas_tape_(plan),
      readout_tape_(plan) {}

Tensor GridPass::forward(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  slots_ = training_slots(model_.config(), tokens.dim(1));
  const DType dtype = exchanged_dtype(model_, own_);
  Tensor canvas;
  if (messages_.is_last()) {
    const Context::Recording recording(ctx, &canvas_tape_);
    embedded_ = model_.parts().embed(ctx, tokens, /*start=*/0);
    canvas = embedded_.detach();
  } else {
    canvas = ctx.empty({tokens.dim(0), tokens.dim(1), model_.parts().channels()}, dtype);
  }
  messages_.share_canvas(canvas);

  if (messages_.is_first()) {
    canvas_ = canvas_tape_.watch(canvas);
    const Context::Recording recording(ctx, &canvas_tape_);
    initial_state_ = model_.initial_state(ctx, canvas_, slots_);
    state_ = initial_state_.detach();
  } else {
    state_ = ctx.empty({tokens.dim(0), slots_.size(), model_.config().state_dim}, dtype);
    messages_.receive_state(state_);
  }
  const std::size_t num_regions = model_.regions().size();
  for (std::size_t k = own_.begin; k < own_.end; ++k) {
    passes_.push_back(std::make_unique<RegionPass>(model_.regions()[k], slots_, plan_));
    const bool is_last = k + 1 == num_regions;
    state_ = passes_.back()->forward(
        ctx, canvas, state_, is_last ? RegionPass::Output::kFeatures : RegionPass::Output::kState);
  }
  if (messages_.is_last()) {
    features_ = readout_tape_.watch(state_);
    const Context::Recording recording(ctx, &readout_tape_);
    loss_ = model_.parts().readout_loss(ctx, features_,
                                        scored_targets(ctx, targets, slots_.first_scored));
    return loss_.detach();
  }
  messages_.send_state(state_);
  if (messages_.gathers_pullbacks()) {
    const Tensor own = own_pullback(ctx);
    pullbacks_ = ctx.empty(own.shape().with_first(messages_.num_gathered()), own.dtype());
    messages_.gather_pullbacks(own, pullbacks_);
  }
  loss_ = ctx.zeros({1}, statistic_dtype(dtype));
  return loss_;
}

Tensor GridPass::own_pullback(Context& ctx) const {
  const std::int64_t batch = state_.dim(0);
  const std::int64_t width = state_.numel() / batch;
  if (!messages_.gives_pullback()) {
    return ctx.zeros({batch, width, width}, state_.dtype());
  }
  const auto count = static_cast<std::int64_t>(passes_.size());
  const Tensor all = ctx.empty({count, batch, width, width}, state_.dtype());
  for (std::int64_t i = 0; i < count; ++i) {
    copy(all.slice(i, i + 1),
         passes_[static_cast<std::size_t>(i)]->pullback(ctx, model_.config().columns));
  }
  return suffix_products(ctx, all, model_.config().suffix)
      .slice(0, 1)
      .reshape({batch, width, width});
}

// With Q_i the pullback of rank i and n ranks below the seed's owner, rank i's output has the
// cotangent Q_(i+1) ... Q_(n-1) seed. Every rank makes all of them, from the same bytes.
Tensor GridPass::output_cotangent(Context& ctx, const Tensor& dloss, Tensor* input) {
  if (messages_.is_last()) {
    const Tensor dfeatures =
        readout_tape_.pull(ctx, std::span(&loss_, 1), std::span(&dloss, 1),
                           std::span(&features_, 1), Tape::Parameters::kAccumulate)[0];
    readout_tape_.clear();
    return dfeatures.reshape(features_.shape());
  }
  const bool has_products = pullbacks_.defined();
  const Tensor products =
      has_products
          ? suffix_products(ctx, pullbacks_.slice(1, pullbacks_.dim(0)), model_.config().suffix)
          : Tensor{};
  const Tensor adjoint = ctx.empty(state_.shape(), state_.dtype());
  messages_.receive_adjoint(adjoint);
  if (!has_products) {
    return adjoint;
  }
  const Tensor all = apply_matrices(ctx, products, adjoint);
  const auto rank = static_cast<std::int64_t>(messages_.rank());
  if (rank > 0) {
    *input = all.slice(rank - 1, rank);
  }
  return all.slice(rank, rank + 1).reshape(state_.shape());
}

Tensor GridPass::backward_region(Context& ctx, std::size_t region, const Tensor& doutput) {
  const RegionPass::Cotangents share = pass(region).backward(ctx, doutput);
  if (!dcanvas_.defined()) {
    dcanvas_ = ctx.empty_like(share.canvas);
    copy(dcanvas_, share.canvas);
  } else {
    accumulate(dcanvas_, share.canvas);
  }
  return share.state;
}

void GridPass::backward_regions(Context& ctx, const Tensor& doutput) {
  dstate_ = doutput;
  for (std::size_t k = own_.end; k-- > own_.begin;) {
    dstate_ = backward_region(ctx, k, dstate_);
  }
}

void GridPass::hand_on_and_backward(Context& ctx, const Tensor& doutput) {
  Tensors cotangents;  // of the outputs of the last region, the one before, ...
  dstate_ = doutput;
  for (std::size_t k = own_.end; k-- > own_.begin;) {
    cotangents.push_back(dstate_);
    dstate_ = pass(k).adjoint(ctx, dstate_);
  }
  messages_.hand_adjoint_on(dstate_);
  for (std::size_t k = own_.end; k-- > own_.begin;) {
    backward_region(ctx, k, cotangents[own_.end - 1 - k]);
  }
}

BackwardReport GridPass::backward(Context& ctx, const Tensor& dloss) {
  BackwardReport report;
  Tensor expected;
  const Tensor doutput = output_cotangent(ctx, dloss, &expected);
  messages_.hands_adjoint_on() ? hand_on_and_backward(ctx, doutput)
                               : backward_regions(ctx, doutput);
  if (expected.defined()) {
    const double squares = squared_distance(dstate_, expected);
    report.adjoint_rms = std::sqrt(squares / static_cast<double>(dstate_.numel()));
    report.pullbacks = static_cast<std::int64_t>(passes_.size());
  }
  if (messages_.is_first()) {
    const Tensor dinitial = as_cotangent(dstate_);
    const Tensor share =
        canvas_tape_.pull(ctx, std::span(&initial_state_, 1), std::span(&dinitial, 1),
                          std::span(&canvas_, 1), Tape::Parameters::kAccumulate)[0];
    accumulate(dcanvas_, share.reshape(dcanvas_.shape()));
    canvas_tape_.clear();
  }
  messages_.share_loss(loss_);
  messages_.sum_canvas_gradient(dcanvas_);
  if (messages_.is_last()) {
    const Tensor dembedded = as_cotangent(dcanvas_);
    canvas_tape_.pull(ctx, std::span(&embedded_, 1), std::span(&dembedded, 1), {},
                      Tape::Parameters::kAccumulate);
    canvas_tape_.clear();
  }
  return report;
}

DType exchanged_dtype(const LanguageModel& model, RegionRange own) {
  return model.parameters()
      .find(fmt::format("regions.{}.decoder.fc1.weight", own.begin))
      ->used()
      .dtype();
}

}  // namespace ghost
