#include "models/lbi/grid_pass.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "models/lbi/squared_distance.h"

namespace ghost {

GridPass::GridPass(const LbiModel& model, RegionMessages& messages, RegionRange own,
                   const ResidualPlan& plan)
    : model_(model),
      messages_(messages),
      own_(own),
      plan_(plan),
      canvas_tape_(plan),
      readout_(model, plan) {}

Tensor GridPass::forward(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  slots_ = training_slots(model_.config(), tokens.dim(1));
  const DType dtype = canvas_dtype(model_, own_);
  const Shape canvas_shape{tokens.dim(0), tokens.dim(1), model_.parts().channels()};
  const Tensor canvas = messages_.canvas(ctx, canvas_shape, dtype, [&] {
    const Context::Recording recording(ctx, &canvas_tape_);
    embedded_ = model_.parts().embed(ctx, tokens, /*start=*/0);
    return embedded_.detach();
  });
  const Shape state_shape{tokens.dim(0), slots_.size(), model_.config().state_dim};
  const Tensor state = messages_.state(ctx, state_shape, statistic_dtype(dtype), [&] {
    canvas_ = canvas_tape_.watch(canvas);
    const Context::Recording recording(ctx, &canvas_tape_);
    initial_state_ = model_.initial_state(ctx, canvas_, slots_);
    return initial_state_.detach();
  });
  regions_.emplace(model_, own_, slots_, plan_);
  output_ = regions_->forward(ctx, canvas, state);
  if (messages_.is_last()) {
    loss_ = readout_.forward(ctx, output_, targets, slots_);
    return loss_;
  }
  messages_.send_state(output_);
  if (messages_.exchanges_pullbacks()) {
    pullback_ = own_pullback(ctx);
    suffix_ = messages_.suffix_of_pullbacks(ctx, pullback_, model_.config());
  }
  loss_ = ctx.zeros({1}, statistic_dtype(dtype));
  return loss_;
}

Tensor GridPass::own_pullback(Context& ctx) {
  const std::int64_t batch = output_.dim(0);
  const std::int64_t width = output_.numel() / batch;
  if (!messages_.gives_pullback()) {
    return ctx.zeros({1, batch, width, width}, output_.dtype());
  }
  const Tensor all = regions_->pullbacks(ctx, own_.begin, own_.end);
  return suffix_products(ctx, all, model_.config().suffix).slice(0, 1);
}

Tensor GridPass::output_cotangent(Context& ctx, const Tensor& dloss) {
  if (messages_.is_last()) {
    return readout_.backward(ctx, dloss);
  }
  const Tensor adjoint = ctx.empty(output_.shape(), output_.dtype());
  messages_.receive_adjoint(adjoint);
  return suffix_.defined() ? apply_matrices(ctx, suffix_, adjoint).reshape(output_.shape())
                           : adjoint;
}

Tensor GridPass::hand_on_and_backward(Context& ctx, const Tensor& doutput) {
  Tensors cotangents;  // of the outputs of the last region, the one before, ...
  Tensor dstate = doutput;
  for (std::size_t k = own_.end; k-- > own_.begin;) {
    cotangents.push_back(dstate);
    dstate = regions_->adjoint(ctx, k, dstate);
  }
  messages_.hand_adjoint_on(dstate);
  for (std::size_t k = own_.end; k-- > own_.begin;) {
    regions_->backward(ctx, k, cotangents[own_.end - 1 - k]);
  }
  return dstate;
}

BackwardReport GridPass::backward(Context& ctx, const Tensor& dloss) {
  BackwardReport report;
  const Tensor doutput = output_cotangent(ctx, dloss);
  const Tensor dstate = messages_.hands_adjoint_on()
                            ? hand_on_and_backward(ctx, doutput)
                            : regions_->backward(ctx, own_.begin, own_.end, doutput);
  if (messages_.gives_pullback()) {
    const Tensor expected = apply_matrices(ctx, pullback_, doutput);
    const double squares = squared_distance(dstate, expected);
    report.adjoint_rms = std::sqrt(squares / static_cast<double>(dstate.numel()));
    report.pullbacks = static_cast<std::int64_t>(own_.end - own_.begin);
  }
  const Tensor& dcanvas = regions_->dcanvas();
  if (messages_.is_first()) {
    const Tensor dinitial = as_cotangent(dstate);
    const Tensor share =
        canvas_tape_.pull(ctx, std::span(&initial_state_, 1), std::span(&dinitial, 1),
                          std::span(&canvas_, 1), Tape::Parameters::kAccumulate)[0];
    accumulate(dcanvas, share.reshape(dcanvas.shape()));
    canvas_tape_.clear();
  }
  messages_.share_loss(loss_);
  messages_.sum_canvas_gradient(dcanvas);
  if (messages_.is_last()) {
    const Tensor dembedded = as_cotangent(dcanvas);
    canvas_tape_.pull(ctx, std::span(&embedded_, 1), std::span(&dembedded, 1), {},
                      Tape::Parameters::kAccumulate);
    canvas_tape_.clear();
  }
  return report;
}

DType canvas_dtype(const LbiModel& model, RegionRange own) {
  const auto layer = static_cast<std::int64_t>(own.begin) * model.config().layers_per_region;
  const std::string prefix = model.parts().block_prefix(layer);
  const auto& all = static_cast<const LanguageModel&>(model).parameters().all();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& parameter) {
    return parameter->name.starts_with(prefix) && parameter->precision == Precision::kActivation;
  });
  GHOST_CHECK(found != all.end(), "no parameter of {} tells the dtype of activations", prefix);
  return (*found)->used().dtype();
}

}  // namespace ghost
