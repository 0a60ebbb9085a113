#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y = x + tanh(gate) * change
struct GatedAddForward {
  Tensor x;       // [n]
  Tensor change;  // [n]
  Tensor gate;    // [1]
  Tensor y;       // [n]
};

struct GatedAddBackward {
  Tensor change;            // [n]
  Tensor gate;              // [1]
  Tensor dy;                // [P, n]
  Tensor dchange;           // [P, n] or undefined
  Tensor dgate;             // [1] or undefined; P = 1
  bool accumulate = false;  // onto dgate
  Tensor partial;           // partial_sums(n / 256, 1) in f64 where dgate is defined
};

namespace cpu {
void gated_add(const GatedAddForward& args);
void gated_add(const GatedAddBackward& args);
}  // namespace cpu

namespace cuda {
void gated_add(const GatedAddForward& args);
void gated_add(const GatedAddBackward& args);
}  // namespace cuda

}  // namespace ghost
