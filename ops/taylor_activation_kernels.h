#pragma once

#include "ops/taylor_activation.h"

namespace ghost {

struct TaylorCoordinates {
  Tensor points;  // [N, d]
  Tensor y;       // [2 + d, N, d]
};

struct TaylorActivationForward {
  TaylorFunction function;
  Tensor z;     // [2 + d, N, C]
  Tensor bias;  // [C] or undefined
  Tensor y;     // [2 + d, N, C]
};

struct TaylorActivationBackward {
  TaylorFunction function;
  Tensor z;     // [2 + d, N, C]
  Tensor bias;  // [C] or undefined
  Tensor dy;    // [P, 2 + d, N, C]
  Tensor dz;    // [P, 2 + d, N, C]; its first N x C are also the gradient of a bias before its sum
};

namespace cpu {
void taylor_coordinates(const TaylorCoordinates& args);
void taylor_activation(const TaylorActivationForward& args);
void taylor_activation(const TaylorActivationBackward& args);
}  // namespace cpu

}  // namespace ghost
