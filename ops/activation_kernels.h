#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

enum class ActivationKind { kGeluErf, kGeluTanh, kSilu, kTanh, kRelu };

struct ActivationForward {
  ActivationKind kind;
  Tensor x;           // [n]
  Tensor y;           // [n]
  Tensor derivative;  // [n] f'(x), or undefined
};

/// dx = dy * f'(x)
struct ActivationBackward {
  ActivationKind kind;
  Tensor x;   // [n]
  Tensor dy;  // [P, n]
  Tensor dx;  // [P, n]
};

/// dx = dy * f'(x), where f'(x) has been kept
struct ActivationDerivativeBackward {
  Tensor derivative;  // [n]
  Tensor dy;          // [P, n]
  Tensor dx;          // [P, n]
};

namespace cpu {
void activation(const ActivationForward& args);
void activation(const ActivationBackward& args);
void activation(const ActivationDerivativeBackward& args);
}  // namespace cpu

namespace cuda {
void activation(const ActivationForward& args);
void activation(const ActivationBackward& args);
void activation(const ActivationDerivativeBackward& args);
}  // namespace cuda

}  // namespace ghost
