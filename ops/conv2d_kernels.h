#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct Conv2dForward {
  Tensor x;       // [B, C, H, W]
  Tensor weight;  // [M, C, K, K]
  Tensor bias;    // [M] or undefined
  Tensor y;       // [B, M, H, W]
};

struct Conv2dInputBackward {
  Tensor dy;      // [P * B, M, H, W]
  Tensor weight;  // [M, C, K, K]
  Tensor dx;      // [P * B, C, H, W]
};

/// Overwrites.
struct Conv2dWeightBackward {
  Tensor dy;       // [B, M, H, W]
  Tensor x;        // [B, C, H, W]
  Tensor dweight;  // [M, C, K, K]
  Tensor dbias;    // [M] or undefined
};

namespace cpu {
void conv2d(const Conv2dForward& args);
void conv2d(const Conv2dInputBackward& args);
void conv2d(const Conv2dWeightBackward& args);

/// The plain definition, whatever the dtype: the yardstick of oneDNN's.
void reference_conv2d(const Conv2dForward& args);
void reference_conv2d(const Conv2dInputBackward& args);
void reference_conv2d(const Conv2dWeightBackward& args);
}  // namespace cpu

}  // namespace ghost
