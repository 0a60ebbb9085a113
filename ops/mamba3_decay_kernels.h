#pragma once

#include "ops/mamba3_decay.h"

namespace ghost {

/// dt, a, their cotangents, dt_bias and its gradient are f32 where the others are bf16.
struct Mamba3DecayForward {
  Tensor dd_dt;    // [B, T, H]
  Tensor dd_a;     // [B, T, H]
  Tensor dt_bias;  // [H]
  Tensor dt;       // [B, T, H]
  Tensor a;        // [B, T, H]
  Mamba3DecayOptions options;
};

struct Mamba3DecayBackward {
  Tensor dd_dt;    // [B, T, H]
  Tensor dd_a;     // [B, T, H]
  Tensor dt_bias;  // [H]
  // Cotangents, [P, B, T, H]: of the outputs dt and a, of the inputs (undefined: not wanted).
  Tensor grad_dt;
  Tensor grad_a;
  Tensor grad_dd_dt;
  Tensor grad_dd_a;
  Tensor grad_dt_bias;  // [H] or undefined; P = 1; added to
  Tensor bias_partial;  // partial_sums(B T, H) where grad_dt_bias is defined
  Mamba3DecayOptions options;
};

namespace cpu {
void mamba3_decay(const Mamba3DecayForward& args);
void mamba3_decay(const Mamba3DecayBackward& args);
}  // namespace cpu

namespace cuda {
void mamba3_decay(const Mamba3DecayForward& args);
void mamba3_decay(const Mamba3DecayBackward& args);
}  // namespace cuda

}  // namespace ghost
