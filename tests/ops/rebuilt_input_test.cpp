#include "ops/rebuilt_input.h"

#include <cmath>

#include "engine/autograd/state_store.h"
#include "ops/two_sided_sketch.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

DenseMatrix random(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  return DenseMatrix::from(test::normal({rows, columns}, seed));
}

double squared_distance(const DenseMatrix& a, const DenseMatrix& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.columns() == b.columns());
  double sum = 0;
  for (std::size_t i = 0; i < a.elements().size(); ++i) {
    const double difference = a.elements()[i] - b.elements()[i];
    sum += difference * difference;
  }
  return sum;
}

DenseMatrix of(const RebuiltInput& rebuilt) { return product(rebuilt.u, rebuilt.v); }

Tensor tensor_of(const DenseMatrix& x) {
  return test::tensor_of({x.rows(), x.columns()}, {x.elements().begin(), x.elements().end()});
}

TEST_CASE("lift has the sketches it was made from and no more than it must", "[ops]") {
  const DenseMatrix a = random(12, 6, 1);
  const DenseMatrix probes = random(12, 5, 2);
  const DenseMatrix rebuilt = of(lift(probes, transposed_product(a, probes)));
  CHECK(squared_distance(transposed_product(rebuilt, probes), transposed_product(a, probes)) <
        1e-24);
  CHECK(rebuilt.frobenius_norm() < a.frobenius_norm());
  const DenseMatrix many = random(12, 15, 3);
  CHECK(squared_distance(of(lift(many, transposed_product(a, many))), a) < 1e-20);
}

// For isotropic data a projection on k of n directions leaves the share k / n of the square.
TEST_CASE("lifted gradients have the cosine sqrt(k / n) with exact ones", "[ops]") {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kProbes = 5;
  double cosine = 0;
  constexpr int kDraws = 100;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    const DenseMatrix a = random(kRows, 20, 4 * draw);
    const DenseMatrix delta = random(kRows, 10, 4 * draw + 1);
    const DenseMatrix probes = random(kRows, kProbes, 4 * draw + 2);
    const DenseMatrix exact = transposed_product(delta, a);
    const DenseMatrix lifted =
        transposed_product(delta, of(lift(probes, transposed_product(a, probes))));
    double dot = 0;
    for (std::size_t i = 0; i < exact.elements().size(); ++i) {
      dot += exact.elements()[i] * lifted.elements()[i];
    }
    cosine += dot / (exact.frobenius_norm() * lifted.frobenius_norm()) / kDraws;
  }
  CHECK(cosine == Approx(std::sqrt(static_cast<double>(kProbes) / kRows)).epsilon(0.1));
}

TEST_CASE("operators between layers do not depend on the signs of their factors", "[ops]") {
  const DenseMatrix x = random(9, 3, 1);
  const DenseMatrix y = random(8, 3, 2);
  const DenseMatrix z = random(8, 3, 3);
  const LayerOperator op = layer_operator(x, y, z);
  const DenseMatrix expected = product(product(op.q_y, op.core), op.q_x.transposed());
  // Ghat = q_y q_y^T (Z / Psi) R_X^-1 q_x^T with the other sign of every second column.
  const double signs[] = {-1, 1, -1};
  ThinQr of_x = thin_qr(x);
  ThinQr of_y = thin_qr(y);
  of_x.q.scale_columns(signs);
  of_y.q.scale_columns(signs);
  DenseMatrix r = of_x.r.transposed();
  r.scale_columns(signs);
  const DenseMatrix core = product(transposed_product(of_y.q, z), pseudo_inverse(r.transposed()));
  CHECK(squared_distance(product(product(of_y.q, core), of_x.q.transposed()), expected) < 1e-24);
  CHECK(squared_distance(product(expected, x), product(of_y.q, transposed_product(of_y.q, z))) <
        1e-20);
}

// Units that never fire leave rows of zeros, and few living ones columns that depend on another.
TEST_CASE("operators of dead units are finite", "[ops]") {
  const DenseMatrix y = random(8, 5, 2);
  const DenseMatrix z = random(8, 5, 3);
  DenseMatrix x(9, 5);
  CHECK(layer_operator(x, y, z).core.frobenius_norm() == 0);
  const DenseMatrix living = random(2, 5, 1);
  for (std::int64_t j = 0; j < 5; ++j) {
    x(3, j) = living(0, j);
    x(7, j) = living(1, j);
  }
  const LayerOperator op = layer_operator(x, y, z);
  CHECK(op.core.is_finite());
  CHECK(op.core.frobenius_norm() < 100 * z.frobenius_norm());
}

struct Draws {
  double mean_squared_error = 0;
  double mean_squared_estimate = 0;
};
Draws draw_two_sided(const DenseMatrix& a, std::int64_t rank, int draws) {
  const std::int64_t k = 2 * rank + 1;
  Draws out;
  for (int draw = 0; draw < draws; ++draw) {
    Context ctx(Device{});
    StateStore store(ctx.allocator());
    TwoSidedSketch sketch(store, "a", {.k = k, .s = 2 * k + 1, .errors = 10},
                          {.seed = static_cast<std::uint64_t>(draw)}, /*layer=*/1, a.rows(),
                          a.columns(), DType::kF64);
    sketch.update(ctx, tensor_of(a), /*beta=*/0);
    const RebuiltInput rebuilt = sketch.rebuild();
    out.mean_squared_error += squared_distance(of(rebuilt), a) / draws;
    out.mean_squared_estimate += std::pow(sketch.error(rebuilt), 2) / draws;
  }
  return out;
}

TEST_CASE("two-sided sketches give a matrix of rank r back", "[ops]") {
  const DenseMatrix a = product(random(40, 3, 1), random(3, 24, 2));
  CHECK(draw_two_sided(a, /*rank=*/3, /*draws=*/3).mean_squared_error <
        1e-20 * std::pow(a.frobenius_norm(), 2));
}

// E |M - Mhat|^2 <= 6 tail^2 with k = 2r + 1, s = 2k + 1; 30 x 50 with singular values j^-0.7.
TEST_CASE("two-sided sketches keep the bound of their theorem", "[ops]") {
  constexpr std::int64_t kRank = 3;
  DenseMatrix left = thin_qr(random(30, 30, 1)).q;
  const DenseMatrix right = thin_qr(random(50, 30, 2)).q;
  std::vector<double> values;
  double tail = 0;
  for (int j = 1; j <= 30; ++j) {
    values.push_back(std::pow(j, -0.7));
    tail += j > kRank ? values.back() * values.back() : 0;
  }
  left.scale_columns(values);
  const Draws drawn = draw_two_sided(product(left, right.transposed()), kRank, /*draws=*/200);
  CHECK(drawn.mean_squared_error <= 6 * tail);
  CHECK(drawn.mean_squared_error >= tail);
  CHECK(drawn.mean_squared_estimate == Approx(drawn.mean_squared_error).epsilon(0.15));
}

}  // namespace
}  // namespace ghost
