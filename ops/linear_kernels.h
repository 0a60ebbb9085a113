#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct LinearForward {
  Tensor x;       // [rows, N]
  Tensor weight;  // [M, N]
  Tensor bias;    // [M] or undefined
  Tensor y;       // [rows, M]
};

struct LinearInputBackward {
  Tensor dy;      // [P * rows, M]
  Tensor weight;  // [M, N]
  Tensor dx;      // [P * rows, N]
};

struct LinearWeightBackward {
  Tensor dy;       // [rows, M]
  Tensor x;        // [rows, N]
  Tensor dweight;  // [M, first_column + N or more]
  bool accumulate;
  double alpha = 1;  // dweight = alpha dy^T x, in N columns of dweight
  std::int64_t first_column = 0;
};

struct LinearBiasBackward {
  Tensor dy;     // [rows, M]
  Tensor dbias;  // [M]
  bool accumulate;
  Tensor partial;  // partial_sums(rows, M)
};

namespace cpu {
void linear(const LinearForward& args);
void linear(const LinearInputBackward& args);
void linear(const LinearWeightBackward& args);
void linear(const LinearBiasBackward& args);
}  // namespace cpu

namespace cuda {
void linear(const LinearForward& args);
void linear(const LinearInputBackward& args);
void linear(const LinearWeightBackward& args);
void linear(const LinearBiasBackward& args);
}  // namespace cuda

}  // namespace ghost
