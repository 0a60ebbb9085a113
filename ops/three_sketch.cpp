#include "ops/three_sketch.h"

#include <cmath>

#include "engine/autograd/state_store.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/in_dtype.h"
#include "ops/launch_linear.h"

namespace ghost {

GaussianMatrix ProbeNames::matrix(ProbeId id, std::int64_t columns, std::int64_t offset) const {
  return {.seed = seed,
          .id = static_cast<std::uint32_t>(id) + static_cast<std::uint32_t>(offset),
          .generation = static_cast<std::uint32_t>(generation),
          .columns = columns};
}

Tensor draw_probes(const Context& ctx, const ThreeSketchLayout& layout, const ProbeNames& names,
                   std::int64_t first_row, std::int64_t rows, DType dtype) {
  const Tensor out = ctx.empty({rows, layout.columns()}, dtype);
  std::int64_t column = 0;
  const auto draw = [&](ProbeId id, std::int64_t columns) {
    if (columns > 0) {
      names.matrix(id, columns).draw(out, first_row, column);
      column += columns;
    }
  };
  draw(ProbeId::kUpsilon, layout.x_columns());
  draw(ProbeId::kOmega, layout.y_columns());
  draw(ProbeId::kPhi, layout.z_columns());
  return out;
}

std::vector<double> draw_psi(const ProbeNames& names, std::int64_t layer, std::int64_t s) {
  const Context host(Device{});
  const Tensor row = host.empty({1, s}, DType::kF64);
  names.matrix(ProbeId::kPsi, s, layer).draw(row);
  return {row.data<double>(), row.data<double>() + s};
}

double bias_correction(double beta, std::int64_t updates) {
  return updates == 0 ? 1 : 1 / (1 - std::pow(beta, static_cast<double>(updates)));
}

ThreeSketch::ThreeSketch(StateStore& store, const std::string& name,
                         const ThreeSketchLayout& layout, std::int64_t channels, DType dtype)
    : layout_(layout) {
  GHOST_CHECK(!layout.is_tied || layout.s == layout.k,
              "tied probes of {}: s is {}; expected k, which is {}", name, layout.s, layout.k);
  values_ = store.get(name + ".sketch", {channels, layout.columns()}, dtype, MemoryTag::kSketches);
  clock_ = store.get_on_host(name + ".clock", {1}, MemoryTag::kSketches);
  updates_ = static_cast<std::int64_t>(item(clock_));
}

void ThreeSketch::update(const Context& ctx, const Tensor& a, const Tensor& probes,
                         const Update& update) {
  const std::int64_t rows = a.numel() / a.dim(-1);
  GHOST_CHECK(a.dim(-1) == channels() && probes.dim(0) >= rows &&
                  probes.dim(1) == layout_.columns() && a.dtype() == probes.dtype(),
              "sketch update with A {} and probes {}; expected [n,{}] and at least as many rows of "
              "{} columns, in one dtype",
              a.shape(), probes.shape(), channels(), layout_.columns());
  begin(update);
  const LinearWeightBackward args{.dy = a.reshape({rows, a.dim(-1)}),
                                  .x = probes.slice(0, rows),
                                  .dweight = values_,
                                  .accumulate = true,
                                  .alpha = (1 - update.beta) * update.weight};
  ctx.count_gemm({.m = channels(), .n = layout_.columns(), .k = rows});
  launch_linear(ctx, args);
}

void ThreeSketch::update_product(const Context& ctx, const Tensor& b, const Tensor& weight,
                                 const Tensor& probes, const Update& update) {
  const std::int64_t rows = b.numel() / b.dim(-1);
  GHOST_CHECK(weight.shape() == Shape({channels(), b.dim(-1)}) && probes.dim(0) >= rows &&
                  probes.dim(1) == layout_.columns(),
              "sketch update with B {}, weight {} and probes {}; expected a weight [{},{}] and at "
              "least as many rows of {} columns",
              b.shape(), weight.shape(), probes.shape(), channels(), b.dim(-1), layout_.columns());
  begin(update);
  // P^T B, in f32 where B is bf16; then its product with the weight in the dtype of B.
  const Shape small({layout_.columns(), b.dim(-1)});
  const Tensor sums = ctx.empty(small, values_.dtype());
  const LinearWeightBackward project{.dy = probes.slice(0, rows),
                                     .x = b.reshape({rows, b.dim(-1)}),
                                     .dweight = sums,
                                     .accumulate = false,
                                     .alpha = (1 - update.beta) * update.weight};
  ctx.count_gemm({.m = layout_.columns(), .n = b.dim(-1), .k = rows});
  ctx.count_gemm({.m = channels(), .n = layout_.columns(), .k = b.dim(-1)});
  launch_linear(ctx, project);
  const LinearForward multiply{.x = weight,
                               .weight = in_dtype(ctx, sums, b.dtype()),
                               .bias = {},
                               .y = ctx.empty(values_.shape(), b.dtype())};
  launch_linear(ctx, multiply);
  accumulate(values_, in_dtype(ctx, multiply.y, values_.dtype()));
}

void ThreeSketch::begin(const Update& update) {
  if (!update.is_further) {
    scale(values_, update.beta);
    ++updates_;
    fill(clock_, static_cast<double>(updates_));
  }
}

void ThreeSketch::reset() {
  fill_zero(values_);
  fill_zero(clock_);
  updates_ = 0;
}

DenseMatrix ThreeSketch::x() const {
  return DenseMatrix::from(on_host(values_), 0, layout_.x_columns());
}

DenseMatrix ThreeSketch::y() const {
  return DenseMatrix::from(on_host(values_), layout_.x_columns(), layout_.y_columns());
}

DenseMatrix ThreeSketch::z_over_psi() const {
  if (layout_.is_tied) {
    return x();
  }
  return DenseMatrix::from(on_host(values_), layout_.x_columns() + layout_.y_columns(),
                           layout_.z_columns());
}

DenseMatrix ThreeSketch::z(const std::vector<double>& psi) const {
  DenseMatrix out = z_over_psi();
  out.scale_columns(psi);
  return out;
}

DenseMatrix ThreeSketch::all() const { return DenseMatrix::from(on_host(values_)); }

}  // namespace ghost
