#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor/tensor.h"

namespace ghost {

/// A small matrix in f64 on the host, row-major, and the factorisations of it that sketches need.
/// All of them run on the calling thread in a fixed order: equal inputs give equal results, bit for
/// bit. Eigen does the work and stays inside of the source file.
class DenseMatrix {
 public:
  DenseMatrix() = default;
  /// Zeros.
  DenseMatrix(std::int64_t rows, std::int64_t columns);
  DenseMatrix(std::int64_t rows, std::int64_t columns, std::vector<double> elements);
  /// Columns [first, first + count) of a matrix [rows, n] of f32, f64 or bf16 on the CPU.
  static DenseMatrix from(const Tensor& x, std::int64_t first, std::int64_t count);
  static DenseMatrix from(const Tensor& x) { return from(x, 0, x.dim(1)); }

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::span<const double> elements() const { return elements_; }
  double& operator()(std::int64_t row, std::int64_t column) {
    return elements_[static_cast<std::size_t>(row * columns_ + column)];
  }
  double operator()(std::int64_t row, std::int64_t column) const {
    return elements_[static_cast<std::size_t>(row * columns_ + column)];
  }
  /// Writes all elements to a tensor [rows, columns] of f32 or f64 on the CPU.
  void copy_to(const Tensor& out) const;

  DenseMatrix transposed() const;
  /// Rows [begin, end).
  DenseMatrix rows_between(std::int64_t begin, std::int64_t end) const;
  /// Multiplies column j by factors[j].
  void scale_columns(std::span<const double> factors);
  void scale(double factor);
  double frobenius_norm() const;
  bool is_finite() const;

 private:
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  std::vector<double> elements_;
};

/// a b
DenseMatrix product(const DenseMatrix& a, const DenseMatrix& b);
/// a^T b
DenseMatrix transposed_product(const DenseMatrix& a, const DenseMatrix& b);
/// The columns of both, a's first.
DenseMatrix beside(const DenseMatrix& a, const DenseMatrix& b);

/// a = q r with q [m, min(m, n)] of orthonormal columns, r [min(m, n), n] upper triangular; signs
/// are those of Householder's reflections.
struct ThinQr {
  DenseMatrix q;
  DenseMatrix r;
};
ThinQr thin_qr(const DenseMatrix& a);

/// r^-1 b for an upper triangular r [n, n] that is not singular.
DenseMatrix solve_upper(const DenseMatrix& r, const DenseMatrix& b);
/// r^-T b
DenseMatrix solve_upper_transposed(const DenseMatrix& r, const DenseMatrix& b);

/// The x of least length with the least |a x - b|; singular values of a below `cutoff` times the
/// largest count as zero.
DenseMatrix least_squares(const DenseMatrix& a, const DenseMatrix& b, double cutoff = 1e-12);
/// a's pseudo-inverse [n, m], with that cut-off.
DenseMatrix pseudo_inverse(const DenseMatrix& a, double cutoff = 1e-12);
/// Descending; min(m, n) of them. Not finite where an element of a is not.
std::vector<double> singular_values(const DenseMatrix& a);
/// a's nearest matrix of that rank.
DenseMatrix truncated(const DenseMatrix& a, std::int64_t rank);

}  // namespace ghost
