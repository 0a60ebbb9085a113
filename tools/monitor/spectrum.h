#pragma once

#include "ops/dense_matrix.h"

namespace ghost {

/// What the squared singular values of a matrix say, all from its Gram matrix: nothing of the
/// matrix's length is factored.
struct Spectrum {
  double frobenius = 0;       // sqrt(sum sigma^2)
  double stable_rank = 0;     // sum sigma^2 / sigma_1^2, in [1, columns]; NaN for zeros
  double effective_rank = 0;  // exp(entropy of sigma^2 / sum), likewise (Roy and Vetterli 2007)
};

/// Of a matrix with few columns. NaN throughout where an element is not finite.
Spectrum spectrum_of(const DenseMatrix& matrix);

/// For a sketch A^T Omega of activations A [n, d]: how much of their energy differs from row to
/// row, ||A - 1 mean(A)||^2 / ||A||^2, by what is left of the sketch without the direction that
/// equal rows would fill, `column_sums` = 1^T Omega. Unbiased up to the ratio; 0 exactly for equal
/// rows. NaN for zeros.
double row_spread(const DenseMatrix& sketch, const DenseMatrix& column_sums);

}  // namespace ghost
