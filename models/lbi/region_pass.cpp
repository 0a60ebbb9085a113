#include "models/lbi/region_pass.h"

#include <algorithm>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

/// Cotangents e_first, e_(first + 1), ... of every sample: [P, ...] for states of `shape`.
Tensor basis_vectors(const Context& ctx, const Shape& shape, DType dtype, std::int64_t first,
                     std::int64_t count) {
  const Tensor out = ctx.zeros(shape.with_first(count), dtype);
  if (ctx.device().is_dry) {
    return out;
  }
  const Tensor place = host_place(out);
  fill_zero(place);
  const std::int64_t batch = shape[0];
  const std::int64_t width = shape.numel() / batch;
  visit_real(dtype, [&]<typename T>() {
    for (std::int64_t p = 0; p < count; ++p) {
      for (std::int64_t b = 0; b < batch; ++b) {
        place.data<T>()[(p * batch + b) * width + first + p] = 1;
      }
    }
  });
  copy(out, place);
  return out;
}

/// Writes rows [P, B, W], the columns `first` and on of B matrices, into them.
void write_columns(const Tensor& rows, std::int64_t first, const Tensor& matrices) {
  const std::int64_t batch = matrices.dim(0);
  const std::int64_t width = matrices.dim(1);
  visit_real(rows.dtype(), [&]<typename T>() {
    const T* row = rows.data<T>();
    for (std::int64_t p = 0; p < rows.dim(0); ++p) {
      for (std::int64_t b = 0; b < batch; ++b, row += width) {
        T* column = matrices.data<T>() + b * width * width + first + p;
        for (std::int64_t i = 0; i < width; ++i) {
          column[i * width] = row[i];
        }
      }
    }
  });
}

}  // namespace

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
  const Tensor place = host_place(matrices);
  for (std::int64_t first = 0; first < width; first += at_once) {
    const std::int64_t count = std::min(at_once, width - first);
    const Tensor basis = basis_vectors(ctx, output_.shape(), output_.dtype(), first, count);
    const Tensor rows =
        tape_.vjp(ctx, std::span(&output_, 1), std::span(&basis, 1), std::span(&state_, 1))[0];
    if (!ctx.device().is_dry) {
      write_columns(on_host(rows), first, place);
    }
  }
  copy(matrices, place);
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
