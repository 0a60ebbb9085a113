#include "models/lbi/region_pass.h"

#include <algorithm>

#include "ops/jacobian_columns.h"

namespace ghost {

Tensor RegionPass::forward(Context& ctx, const Tensor& canvas, const Tensor& state, Output output) {
  canvas_ = tape_.watch(canvas);
  state_ = state.defined() ? tape_.watch(state) : Tensor{};
  const Context::Recording recording(ctx, &tape_);
  output_ = region_.features(ctx, canvas_, state_, slots_);
  if (output == Output::kState) {
    output_ = region_.next_state(ctx, state_, output_, slots_);
  }
  return output_.detach();
}

Tensor RegionPass::pullback(Context& ctx, std::int64_t columns) {
  const std::int64_t batch = state_.dim(0);
  const std::int64_t width = state_.numel() / batch;
  const std::int64_t at_once = columns > 0 ? std::min(columns, width) : width;
  const Tensor matrices = ctx.empty({batch, width, width}, state_.dtype());
  for (std::int64_t first = 0; first < width; first += at_once) {
    const std::int64_t count = std::min(at_once, width - first);
    const Tensor basis = basis_cotangents(ctx, output_.shape(), output_.dtype(), first, count);
    const Tensor rows =
        tape_.vjp(ctx, std::span(&output_, 1), std::span(&basis, 1), std::span(&state_, 1))[0];
    write_columns(ctx, rows, first, matrices);
  }
  return matrices;
}

Tensor RegionPass::adjoint(Context& ctx, const Tensor& doutput) {
  const Tensor dy = as_cotangent(doutput);
  return tape_.vjp(ctx, std::span(&output_, 1), std::span(&dy, 1), std::span(&state_, 1))[0]
      .reshape(state_.shape());
}

RegionPass::Cotangents RegionPass::backward(Context& ctx, const Tensor& doutput) {
  const Tensor dy = as_cotangent(doutput);
  Tensors inputs{canvas_};
  if (state_.defined()) {
    inputs.push_back(state_);
  }
  const Tensors cotangents = tape_.pull(ctx, std::span(&output_, 1), std::span(&dy, 1), inputs,
                                        Tape::Parameters::kAccumulate);
  Cotangents out{.canvas = cotangents[0].reshape(canvas_.shape())};
  if (state_.defined()) {
    out.state = cotangents[1].reshape(state_.shape());
  }
  tape_.clear();
  output_ = Tensor{};
  return out;
}

}  // namespace ghost
