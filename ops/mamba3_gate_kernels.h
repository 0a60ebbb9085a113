#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct Mamba3GateForward {
  Tensor o;       // [B, T, R, H, P]
  Tensor z;       // [B, T, H, P]
  Tensor mimo_z;  // [H, R, P] or undefined
  Tensor mimo_o;  // [H, R, P] or undefined
  Tensor y;       // [B, T, H, P]
};

struct Mamba3GateBackward {
  Tensor o;       // [B, T, R, H, P]
  Tensor z;       // [B, T, H, P]
  Tensor mimo_z;  // [H, R, P] or undefined
  Tensor mimo_o;  // [H, R, P] or undefined
  Tensor dy;      // [P, B, T, H, P]
  Tensor dout;    // [P, B, T, R, H, P] or undefined when nobody wants it
  Tensor dz;      // [P, B, T, H, P] or undefined
  // [H, R, P] or undefined; P = 1; added to.
  Tensor dmimo_z;
  Tensor dmimo_o;
  // partial_sums(B T, H R P) for each of them that is defined.
  Tensor dmimo_z_partial;
  Tensor dmimo_o_partial;
};

namespace cpu {
void mamba3_gate(const Mamba3GateForward& args);
void mamba3_gate(const Mamba3GateBackward& args);
}  // namespace cpu

namespace cuda {
void mamba3_gate(const Mamba3GateForward& args);
void mamba3_gate(const Mamba3GateBackward& args);
}  // namespace cuda

}  // namespace ghost
