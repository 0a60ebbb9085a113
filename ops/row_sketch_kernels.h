#pragma once

#include <vector>

#include "engine/tensor/tensor.h"

namespace ghost {

/// out = (accumulate ? out : 0) + S x
struct DenseSketch {
  const std::vector<double>* matrix;  // S [R, rows]
  Tensor x;                           // [rows, C]
  Tensor out;                         // [R, C]
  bool accumulate;
};

namespace cpu {
void row_sketch(const DenseSketch& args);
/// |dy^T x|^2 for dy [R, M] and x [R, N], by the Gram matrices of both.
double squared_norm_of_product(const Tensor& dy, const Tensor& x);
/// |x|^2, summed in f64.
double squared_norm(const Tensor& x);
}  // namespace cpu

}  // namespace ghost
