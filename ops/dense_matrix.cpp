#include "ops/dense_matrix.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

// Threads of its own would change the order of sums.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>

namespace ghost {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using View = Eigen::Map<const Matrix>;
using Svd = Eigen::BDCSVD<Eigen::MatrixXd>;

View view(const DenseMatrix& a) { return {a.elements().data(), a.rows(), a.columns()}; }

template <typename Expression>
DenseMatrix evaluated(const Expression& expression) {
  DenseMatrix out(expression.rows(), expression.cols());
  if (expression.size() > 0) {
    Eigen::Map<Matrix>(&out(0, 0), out.rows(), out.columns()) = expression;
  }
  return out;
}

/// How many singular values count.
Eigen::Index num_above(const Eigen::VectorXd& values, double cutoff) {
  Eigen::Index count = 0;
  while (count < values.size() && values[count] > 0 && values[count] >= cutoff * values[0]) {
    ++count;
  }
  return count;
}

/// a's pseudo-inverse; NaN throughout where a is not finite, as a decomposition would not converge.
Matrix inverse_of(const DenseMatrix& a, double cutoff) {
  if (!a.is_finite()) {
    return Matrix::Constant(a.columns(), a.rows(), std::numeric_limits<double>::quiet_NaN());
  }
  const Svd svd(view(a), Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::Index rank = num_above(svd.singularValues(), cutoff);
  return svd.matrixV().leftCols(rank) *
         svd.singularValues().head(rank).cwiseInverse().asDiagonal() *
         svd.matrixU().leftCols(rank).transpose();
}

}  // namespace

DenseMatrix::DenseMatrix(std::int64_t rows, std::int64_t columns)
    : DenseMatrix(rows, columns, std::vector<double>(static_cast<std::size_t>(rows * columns))) {}

DenseMatrix::DenseMatrix(std::int64_t rows, std::int64_t columns, std::vector<double> elements)
    : rows_(rows), columns_(columns), elements_(std::move(elements)) {
  assert(static_cast<std::int64_t>(elements_.size()) == rows * columns);
}

DenseMatrix DenseMatrix::from(const Tensor& x, std::int64_t first, std::int64_t count) {
  DenseMatrix out(x.dim(0), count);
  visit_floating(x.dtype(), [&]<typename T>() {
    const T* row = x.data<T>() + first;
    for (std::int64_t r = 0; r < out.rows(); ++r, row += x.dim(1)) {
      std::transform(row, row + count, out.elements_.begin() + r * count,
                     [](T value) { return to_double(value); });
    }
  });
  return out;
}

void DenseMatrix::copy_to(const Tensor& out) const {
  assert(out.numel() == rows_ * columns_);
  visit_real(out.dtype(), [&]<typename T>() {
    std::transform(elements_.begin(), elements_.end(), out.data<T>(),
                   [](double value) { return static_cast<T>(value); });
  });
}

DenseMatrix DenseMatrix::transposed() const { return evaluated(view(*this).transpose()); }

DenseMatrix DenseMatrix::rows_between(std::int64_t begin, std::int64_t end) const {
  return {end - begin, columns_,
          std::vector<double>(elements_.begin() + begin * columns_,
                              elements_.begin() + end * columns_)};
}

void DenseMatrix::scale_columns(std::span<const double> factors) {
  assert(static_cast<std::int64_t>(factors.size()) == columns_);
  for (std::int64_t row = 0; row < rows_; ++row) {
    for (std::int64_t column = 0; column < columns_; ++column) {
      (*this)(row, column) *= factors[static_cast<std::size_t>(column)];
    }
  }
}

void DenseMatrix::scale(double factor) {
  for (double& element : elements_) {
    element *= factor;
  }
}

double DenseMatrix::frobenius_norm() const { return view(*this).norm(); }

bool DenseMatrix::is_finite() const {
  return std::all_of(elements_.begin(), elements_.end(), [](double x) { return std::isfinite(x); });
}

DenseMatrix product(const DenseMatrix& a, const DenseMatrix& b) {
  return evaluated(view(a) * view(b));
}

DenseMatrix transposed_product(const DenseMatrix& a, const DenseMatrix& b) {
  return evaluated(view(a).transpose() * view(b));
}

DenseMatrix beside(const DenseMatrix& a, const DenseMatrix& b) {
  assert(a.rows() == b.rows());
  DenseMatrix out(a.rows(), a.columns() + b.columns());
  for (std::int64_t row = 0; row < a.rows(); ++row) {
    for (std::int64_t column = 0; column < out.columns(); ++column) {
      out(row, column) = column < a.columns() ? a(row, column) : b(row, column - a.columns());
    }
  }
  return out;
}

ThinQr thin_qr(const DenseMatrix& a) {
  const Eigen::Index size = std::min(a.rows(), a.columns());
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(view(a));
  const Eigen::MatrixXd q = qr.householderQ() * Eigen::MatrixXd::Identity(a.rows(), size);
  const Eigen::MatrixXd r = qr.matrixQR().topRows(size).triangularView<Eigen::Upper>();
  return {.q = evaluated(q), .r = evaluated(r)};
}

DenseMatrix solve_upper(const DenseMatrix& r, const DenseMatrix& b) {
  const Matrix upper(view(r));
  return evaluated(Matrix(upper.triangularView<Eigen::Upper>().solve(Matrix(view(b)))));
}

DenseMatrix solve_upper_transposed(const DenseMatrix& r, const DenseMatrix& b) {
  const Matrix lower(view(r).transpose());
  return evaluated(Matrix(lower.triangularView<Eigen::Lower>().solve(Matrix(view(b)))));
}

DenseMatrix least_squares(const DenseMatrix& a, const DenseMatrix& b, double cutoff) {
  return evaluated(Matrix(inverse_of(a, cutoff) * view(b)));
}

DenseMatrix pseudo_inverse(const DenseMatrix& a, double cutoff) {
  return evaluated(inverse_of(a, cutoff));
}

std::vector<double> singular_values(const DenseMatrix& a) {
  const auto count = static_cast<std::size_t>(std::min(a.rows(), a.columns()));
  if (!a.is_finite()) {
    return std::vector<double>(count, std::numeric_limits<double>::quiet_NaN());
  }
  // Of a tall matrix through its triangle, which is small.
  const bool is_tall = a.rows() > 2 * a.columns();
  const DenseMatrix small = is_tall ? thin_qr(a).r : a;
  const Eigen::VectorXd values = Svd(view(small)).singularValues();
  return {values.data(), values.data() + values.size()};
}

DenseMatrix truncated(const DenseMatrix& a, std::int64_t rank) {
  const Svd svd(view(a), Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::Index kept = std::min<Eigen::Index>(rank, svd.singularValues().size());
  const Matrix nearest = svd.matrixU().leftCols(kept) *
                         svd.singularValues().head(kept).asDiagonal() *
                         svd.matrixV().leftCols(kept).transpose();
  return evaluated(nearest);
}

}  // namespace ghost
