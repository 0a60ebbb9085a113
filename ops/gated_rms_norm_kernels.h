#pragma once

#include "engine/tensor/tensor.h"
#include "ops/gated_rms_norm.h"

namespace ghost {

/// G groups of C / G channels in each row.
struct GatedRmsNormForward {
  GateOrder order;
  Tensor x;     // [rows, C]
  Tensor z;     // [rows, C] or undefined: no gate
  Tensor gain;  // [C]
  Tensor y;     // [rows, C]
  Tensor rstd;  // [rows, G] statistic_dtype of x, as everywhere
  double eps;
};

/// y from x, z and known statistics.
struct GatedRmsNormApply {
  GateOrder order;
  Tensor x;     // [rows, C]
  Tensor z;     // [rows, C] or undefined: no gate
  Tensor gain;  // [C]
  Tensor rstd;  // [rows, G]
  Tensor y;     // [rows, C]
};

struct GatedRmsNormBackward {
  GateOrder order;
  Tensor x;      // [rows, C]
  Tensor z;      // [rows, C] or undefined: no gate
  Tensor gain;   // [C]
  Tensor rstd;   // [rows, G]
  Tensor dy;     // [P, rows, C]
  Tensor dx;     // [P, rows, C]; undefined when nobody wants it
  Tensor dz;     // [P, rows, C]; undefined when nobody wants it
  Tensor dgain;  // [C] or undefined; P = 1
  bool accumulate_dgain;
  Tensor dgain_partial;  // partial_sums(rows, C) where dgain is defined
};

namespace cpu {
void gated_rms_norm(const GatedRmsNormForward& args);
void gated_rms_norm(const GatedRmsNormApply& args);
void gated_rms_norm(const GatedRmsNormBackward& args);
}  // namespace cpu

namespace cuda {
void gated_rms_norm(const GatedRmsNormForward& args);
void gated_rms_norm(const GatedRmsNormApply& args);
void gated_rms_norm(const GatedRmsNormBackward& args);
}  // namespace cuda

}  // namespace ghost
