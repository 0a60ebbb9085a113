#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct SwigluForward {
  Tensor x;  // [rows, 2H]
  Tensor y;  // [rows, H]
};

struct SwigluBackward {
  Tensor x;   // [rows, 2H]
  Tensor dy;  // [P, rows, H]
  Tensor dx;  // [P, rows, 2H]
};

namespace cpu {
void swiglu(const SwigluForward& args);
void swiglu(const SwigluBackward& args);
}  // namespace cpu

namespace cuda {
void swiglu(const SwigluForward& args);
void swiglu(const SwigluBackward& args);
}  // namespace cuda

}  // namespace ghost
