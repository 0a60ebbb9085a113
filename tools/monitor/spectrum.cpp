#include "tools/monitor/spectrum.h"

#include <cmath>
#include <limits>
#include <vector>

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Spectrum spectrum_of(const DenseMatrix& matrix) {
  const DenseMatrix gram = transposed_product(matrix, matrix);
  if (!gram.is_finite()) {
    return {kNan, kNan, kNan};
  }
  const std::vector<double> squares = singular_values(gram);
  double sum = 0;
  for (const double square : squares) {
    sum += square;
  }
  if (!(sum > 0)) {
    return {0, kNan, kNan};
  }
  double entropy = 0;
  for (const double square : squares) {
    const double share = square / sum;
    entropy -= share > 0 ? share * std::log(share) : 0;
  }
  return {.frobenius = std::sqrt(sum),
          .stable_rank = sum / squares.front(),
          .effective_rank = std::exp(entropy)};
}

// With rows of A equal to m up to E: A^T Omega = m o^T + E^T Omega, o = column_sums. Taking out
// direction o leaves E^T Omega in k - 1 of k directions.
double row_spread(const DenseMatrix& sketch, const DenseMatrix& column_sums) {
  const double length = column_sums.frobenius_norm();
  const double energy = sketch.frobenius_norm() * sketch.frobenius_norm();
  const auto columns = static_cast<double>(sketch.columns());
  if (!(energy > 0) || !(length > 0) || columns < 2) {
    return kNan;
  }
  double rest = 0;
  for (std::int64_t row = 0; row < sketch.rows(); ++row) {
    double along = 0;
    for (std::int64_t column = 0; column < sketch.columns(); ++column) {
      along += sketch(row, column) * column_sums(0, column) / length;
    }
    for (std::int64_t column = 0; column < sketch.columns(); ++column) {
      const double left = sketch(row, column) - along * column_sums(0, column) / length;
      rest += left * left;
    }
  }
  return rest / (columns - 1) / (energy / columns);
}

}  // namespace ghost
