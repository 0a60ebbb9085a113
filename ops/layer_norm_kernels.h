#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct LayerNormForward {
  Tensor x;           // [rows, C]
  Tensor gain;        // [C]
  Tensor bias;        // [C] or undefined
  Tensor y;           // [rows, C]
  Tensor mean;        // [rows] statistic_dtype of x, as rstd everywhere
  Tensor rstd;        // [rows]
  Tensor normalized;  // [rows, C] (x - mean) * rstd, or undefined
  double eps;
};

/// y from x and known statistics.
struct LayerNormApply {
  Tensor x;     // [rows, C]
  Tensor gain;  // [C]
  Tensor bias;  // [C] or undefined
  Tensor mean;  // [rows]; undefined when x is normalised already
  Tensor rstd;  // [rows]
  Tensor y;     // [rows, C]
};

struct LayerNormBackward {
  Tensor x;      // [rows, C]
  Tensor gain;   // [C]
  Tensor mean;   // [rows]; undefined when x is normalised already
  Tensor rstd;   // [rows]
  Tensor dy;     // [P, rows, C]
  Tensor dx;     // [P, rows, C]; undefined when nobody wants it
  Tensor dgain;  // [C] or undefined; P = 1
  Tensor dbias;  // [C] or undefined; P = 1
  bool accumulate_dgain;
  bool accumulate_dbias;
  Tensor dgain_partial;  // partial_sums(rows, C) where dgain is defined
  Tensor dbias_partial;  // likewise
};

namespace cpu {
void layer_norm(const LayerNormForward& args);
void layer_norm(const LayerNormApply& args);
void layer_norm(const LayerNormBackward& args);
}  // namespace cpu

namespace cuda {
void layer_norm(const LayerNormForward& args);
void layer_norm(const LayerNormApply& args);
void layer_norm(const LayerNormBackward& args);
}  // namespace cuda

}  // namespace ghost
