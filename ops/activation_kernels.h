#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

enum class ActivationKind { kGeluErf, kGeluTanh, kSilu };

struct ActivationForward {
  ActivationKind kind;
  Tensor x;  // [n]
  Tensor y;  // [n]
};

/// dx = dy * f'(x)
struct ActivationBackward {
  ActivationKind kind;
  Tensor x;   // [n]
  Tensor dy;  // [P, n]
  Tensor dx;  // [P, n]
};

namespace cpu {
void activation(const ActivationForward& args);
void activation(const ActivationBackward& args);
}  // namespace cpu

}  // namespace ghost
