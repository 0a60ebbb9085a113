#include "ops/two_sided_sketch.h"

#include <cmath>

#include "engine/autograd/state_store.h"
#include "engine/tensor/primitives.h"
#include "ops/launch_linear.h"

namespace ghost {
namespace {

constexpr std::int64_t kIdsOfLayer = 64;

// state <- beta state + (1 - beta) fresh
void average(const Tensor& state, const Tensor& fresh, double beta) {
  scale(state, beta);
  scale(fresh, 1 - beta);
  accumulate(state, fresh);
}

}  // namespace

TwoSidedSketch::TwoSidedSketch(StateStore& store, const std::string& name, const Sizes& sizes,
                               const ProbeNames& names, std::int64_t layer, std::int64_t rows,
                               std::int64_t channels, DType dtype)
    : sizes_(sizes), names_(names), layer_(layer) {
  const auto state = [&](const char* part, const Shape& shape) {
    return store.get(name + part, shape, dtype, MemoryTag::kSketches);
  };
  x_ = state(".x", {rows, sizes.k});
  y_ = state(".y", {sizes.k, channels});
  z_ = state(".z", {sizes.s, sizes.s});
  if (sizes.errors > 0) {
    errors_ = state(".errors", {rows, sizes.errors});
  }
  clock_ = store.get_on_host(name + ".clock", {1}, MemoryTag::kSketches);
  updates_ = static_cast<std::int64_t>(item(clock_));
}

void TwoSidedSketch::update(const Context& ctx, const Tensor& input, double beta) {
  const Tensor a = input.reshape({rows(), channels()});
  // A F^T for a map F on the features.
  const auto of_features = [&](ProbeId id, std::int64_t size) {
    const Tensor out = ctx.empty({rows(), size}, a.dtype());
    const LinearForward args{
        .x = a, .weight = drawn(ctx, a.dtype(), id, size, channels()), .y = out};
    ctx.count_gemm({.m = rows(), .n = size, .k = channels()});
    launch_linear(ctx, args);
    return out;
  };
  // B c for a map B on the batch.
  const auto of_batch = [&](ProbeId id, std::int64_t size, const Tensor& c) {
    const Tensor out = ctx.empty({size, c.dim(1)}, a.dtype());
    const LinearInputBackward args{
        .dy = drawn(ctx, a.dtype(), id, size, rows()), .weight = c, .dx = out};
    ctx.count_gemm({.m = size, .n = c.dim(1), .k = rows()});
    launch_linear(ctx, args);
    return out;
  };
  average(x_, of_features(ProbeId::kUpsilonFeatures, sizes_.k), beta);
  average(y_, of_batch(ProbeId::kOmegaBatch, sizes_.k, a), beta);
  average(z_, of_batch(ProbeId::kPsiBatch, sizes_.s, of_features(ProbeId::kPhiFeatures, sizes_.s)),
          beta);
  if (errors_.defined()) {
    average(errors_, of_features(ProbeId::kThetaFeatures, sizes_.errors), beta);
  }
  ++updates_;
  fill(clock_, static_cast<double>(updates_));
}

std::int64_t TwoSidedSketch::bytes() const {
  return x_.bytes() + y_.bytes() + z_.bytes() + clock_.bytes() +
         (errors_.defined() ? errors_.bytes() : 0);
}

Tensor TwoSidedSketch::drawn(const Context& ctx, DType dtype, ProbeId id, std::int64_t size,
                             std::int64_t of) const {
  const Tensor out = ctx.empty({size, of}, dtype);
  names_.matrix(id, of, layer_ * kIdsOfLayer).draw(out);
  return out;
}

DenseMatrix TwoSidedSketch::map(ProbeId id, std::int64_t size, std::int64_t of) const {
  return DenseMatrix::from(drawn(Context(Device{}), DType::kF64, id, size, of));
}

RebuiltInput TwoSidedSketch::rebuild(std::optional<std::int64_t> rank) const {
  const DenseMatrix q = thin_qr(y()).q;
  DenseMatrix p = thin_qr(DenseMatrix::from(on_host(x_))).q;
  const DenseMatrix left = product(map(ProbeId::kPhiFeatures, sizes_.s, channels()), q);
  const DenseMatrix right = product(map(ProbeId::kPsiBatch, sizes_.s, rows()), p);
  // C = left^+ Z right^+^T by two least squares, the second of them of transposes.
  const DenseMatrix half = least_squares(left, z());
  DenseMatrix core = least_squares(right, half.transposed());  // C^T
  if (rank.has_value()) {
    core = truncated(core, *rank);
  }
  return {.u = std::move(p), .v = product(core, q.transposed())};
}

double TwoSidedSketch::error(const RebuiltInput& rebuilt) const {
  GHOST_CHECK(errors_.defined(), "the error of a two-sided sketch that keeps no map for it");
  // (Theta (M - Mhat))^T = A Theta^T - u (v Theta^T)
  const DenseMatrix theta = map(ProbeId::kThetaFeatures, sizes_.errors, channels());
  const DenseMatrix seen = product(rebuilt.u, product(rebuilt.v, theta.transposed()));
  DenseMatrix rest = DenseMatrix::from(on_host(errors_));
  for (std::int64_t i = 0; i < rest.rows(); ++i) {
    for (std::int64_t j = 0; j < rest.columns(); ++j) {
      rest(i, j) -= seen(i, j);
    }
  }
  return rest.frobenius_norm() / std::sqrt(static_cast<double>(sizes_.errors));
}

}  // namespace ghost
