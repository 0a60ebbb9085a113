#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct CausalConv1dForward {
  Tensor x;       // [B, T, C]
  Tensor weight;  // [C, K] or [C, 1, K]
  Tensor bias;    // [C] or undefined
  Tensor state;   // [B, K-1, C] or undefined
  Tensor y;       // [B, T, C]
  bool has_silu;
};

struct CausalConv1dBackward {
  Tensor x;        // [B, T, C]
  Tensor weight;   // [C, K] or [C, 1, K]
  Tensor bias;     // [C] or undefined
  Tensor state;    // [B, K-1, C] or undefined
  Tensor dy;       // [P, B, T, C]
  Tensor dlinear;  // [P, B, T, C] scratch: cotangent of what goes into silu; dy without silu;
                   // undefined on a GPU, where it stays in registers
  Tensor dx;       // [P, B, T, C] or undefined
  Tensor dstate;   // [P, B, K-1, C] or undefined
  Tensor dweight;  // shape of weight or undefined; P = 1
  Tensor dbias;    // [C] or undefined; P = 1
  bool accumulate_dweight;
  bool accumulate_dbias;
  Tensor dweight_partial;  // partial_sums(B T / 4, C K) where dweight is defined
  Tensor dbias_partial;    // partial_sums(B T / 4, C) where dbias is defined
  bool has_silu;
};

/// The last K-1 tokens of state and x.
struct CausalConv1dState {
  Tensor x;      // [B, T, C]
  Tensor state;  // [B, K-1, C] or undefined
  Tensor next;   // [B, K-1, C]
};

namespace cpu {
void causal_conv1d(const CausalConv1dForward& args);
void causal_conv1d(const CausalConv1dBackward& args);
void causal_conv1d(const CausalConv1dState& args);
}  // namespace cpu

namespace cuda {
void causal_conv1d(const CausalConv1dForward& args);
void causal_conv1d(const CausalConv1dBackward& args);
void causal_conv1d(const CausalConv1dState& args);
}  // namespace cuda

}  // namespace ghost
