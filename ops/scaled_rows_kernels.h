#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y_p = scale_p * x: what losses that keep their gradient do backward.
struct ScaledRows {
  Tensor x;      // [n]
  Tensor scale;  // [P]
  Tensor y;      // [P, n]
};

namespace cpu {
void scaled_rows(const ScaledRows& args);
}  // namespace cpu

}  // namespace ghost
