#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct RmsNormForward {
  Tensor x;           // [rows, C]
  Tensor gain;        // [C]
  Tensor y;           // [rows, C]
  Tensor rstd;        // [rows] statistic_dtype of x, as everywhere
  Tensor normalized;  // [rows, C] x * rstd, or undefined
  double eps;
};

/// y from x and known statistics.
struct RmsNormApply {
  Tensor x;            // [rows, C]
  Tensor gain;         // [C]
  Tensor rstd;         // [rows]
  Tensor y;            // [rows, C]
  bool is_normalized;  // x is x * rstd already
};

struct RmsNormBackward {
  Tensor x;      // [rows, C]
  Tensor gain;   // [C]
  Tensor rstd;   // [rows]
  Tensor dy;     // [P, rows, C]
  Tensor dx;     // [P, rows, C]; undefined when nobody wants it
  Tensor dgain;  // [C] or undefined; P = 1
  bool accumulate_dgain;
  bool is_normalized;    // x is x * rstd already
  Tensor dgain_partial;  // partial_sums(rows, C) where dgain is defined
};

namespace cpu {
void rms_norm(const RmsNormForward& args);
void rms_norm(const RmsNormApply& args);
void rms_norm(const RmsNormBackward& args);
}  // namespace cpu

namespace cuda {
void rms_norm(const RmsNormForward& args);
void rms_norm(const RmsNormApply& args);
void rms_norm(const RmsNormBackward& args);
}  // namespace cuda

}  // namespace ghost
