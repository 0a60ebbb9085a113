#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// c[i] = a[i] b[i], all of them independent.
struct MatrixProducts {
  Tensor a;  // [n, r, r]
  Tensor b;  // [n, r, k]; of one matrix less in rank: [n, r], with k = 1
  Tensor c;  // as b
};

namespace cpu {
void matrix_products(const MatrixProducts& args);
void identity_matrices(const Tensor& matrices);  // [n, r, r]
}  // namespace cpu

namespace cuda {
void matrix_products(const MatrixProducts& args);
void identity_matrices(const Tensor& matrices);  // [n, r, r]
}  // namespace cuda

}  // namespace ghost
