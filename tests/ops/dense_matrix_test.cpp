#include "ops/dense_matrix.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

DenseMatrix random(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  return DenseMatrix::from(test::normal({rows, columns}, seed));
}

double distance(const DenseMatrix& a, const DenseMatrix& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.columns() == b.columns());
  double largest = 0;
  for (std::size_t i = 0; i < a.elements().size(); ++i) {
    largest = std::max(largest, std::abs(a.elements()[i] - b.elements()[i]));
  }
  return largest;
}

DenseMatrix identity(std::int64_t n) {
  DenseMatrix out(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    out(i, i) = 1;
  }
  return out;
}

TEST_CASE("thin qr factors tall, square and wide matrices", "[ops]") {
  for (const auto& [rows, columns] : {std::pair{9, 4}, std::pair{5, 5}, std::pair{3, 7}}) {
    const DenseMatrix a = random(rows, columns, 1);
    const ThinQr qr = thin_qr(a);
    CHECK(qr.q.columns() == std::min(rows, columns));
    CHECK(distance(transposed_product(qr.q, qr.q), identity(qr.q.columns())) < 1e-14);
    CHECK(distance(product(qr.q, qr.r), a) < 1e-14);
    CHECK(qr.r(1, 0) == 0);
  }
}

TEST_CASE("triangular systems are solved from both sides", "[ops]") {
  const DenseMatrix r = thin_qr(random(8, 5, 1)).r;
  const DenseMatrix b = random(5, 3, 2);
  CHECK(distance(product(r, solve_upper(r, b)), b) < 1e-13);
  CHECK(distance(transposed_product(r, solve_upper_transposed(r, b)), b) < 1e-13);
}

TEST_CASE("least squares leaves a rest that no column sees", "[ops]") {
  const DenseMatrix a = random(12, 4, 1);
  const DenseMatrix b = random(12, 3, 2);
  const DenseMatrix x = least_squares(a, b);
  DenseMatrix rest = product(a, x);
  for (std::int64_t i = 0; i < rest.rows(); ++i) {
    for (std::int64_t j = 0; j < rest.columns(); ++j) {
      rest(i, j) -= b(i, j);
    }
  }
  CHECK(transposed_product(a, rest).frobenius_norm() < 1e-13);
}

// Moore and Penrose's conditions, for a matrix of rank 2 with five columns.
TEST_CASE("a pseudo-inverse leaves out singular values below the cut-off", "[ops]") {
  const DenseMatrix a = product(random(7, 2, 1), random(2, 5, 2));
  const DenseMatrix inverse = pseudo_inverse(a, 1e-8);
  CHECK(distance(product(product(a, inverse), a), a) < 1e-12);
  CHECK(distance(product(product(inverse, a), inverse), inverse) < 1e-12);
  const DenseMatrix projection = product(inverse, a);
  CHECK(distance(projection, projection.transposed()) < 1e-12);
  CHECK(pseudo_inverse(DenseMatrix(3, 4)).frobenius_norm() == 0);
}

TEST_CASE("singular values and truncation agree", "[ops]") {
  for (const auto& [rows, columns] : {std::pair{40, 5}, std::pair{6, 5}, std::pair{4, 9}}) {
    const DenseMatrix a = random(rows, columns, 3);
    const auto values = singular_values(a);
    REQUIRE(static_cast<int>(values.size()) == std::min(rows, columns));
    double sum = 0;
    double tail = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK((i == 0 || values[i] <= values[i - 1]));
      sum += values[i] * values[i];
      tail += i >= 2 ? values[i] * values[i] : 0;
    }
    CHECK(std::sqrt(sum) == Approx(a.frobenius_norm()).epsilon(1e-12));
    DenseMatrix rest = truncated(a, 2);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        rest(i, j) -= a(i, j);
      }
    }
    CHECK(rest.frobenius_norm() == Approx(std::sqrt(tail)).epsilon(1e-12));
  }
}

TEST_CASE("matrices that are not finite give NaN instead of an endless loop", "[ops]") {
  DenseMatrix a = random(6, 3, 1);
  a(2, 1) = std::numeric_limits<double>::infinity();
  CHECK_FALSE(a.is_finite());
  CHECK(std::isnan(singular_values(a)[0]));
  CHECK(std::isnan(pseudo_inverse(a)(0, 0)));
}

TEST_CASE("matrices are cut from tensors and written back", "[ops]") {
  const Tensor x = test::tensor_of({2, 3}, {1, 2, 3, 4, 5, 6});
  const DenseMatrix middle = DenseMatrix::from(x, 1, 2);
  CHECK(middle(1, 0) == 5);
  CHECK(beside(middle, DenseMatrix::from(x, 0, 1))(1, 2) == 4);
  CHECK(middle.rows_between(1, 2)(0, 1) == 6);
  DenseMatrix scaled = middle;
  const double factors[] = {10, 100};
  scaled.scale_columns(factors);
  CHECK(scaled(0, 1) == 300);
  const Tensor out = test::tensor_of({2, 2}, {0, 0, 0, 0});
  scaled.copy_to(out);
  CHECK(test::values_of(out) == std::vector<double>{20, 300, 50, 600});
}

}  // namespace
}  // namespace ghost
