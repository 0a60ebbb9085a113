#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct CrossEntropyForward {
  Tensor logits;    // [rows, V]
  Tensor targets;   // [rows] i32
  Tensor loss;      // [1]
  Tensor gradient;  // [rows, V] of the loss; undefined where nobody wants it
};

namespace cpu {
/// Throws ghost::Error for a target outside of 0 to V - 1.
void cross_entropy(const CrossEntropyForward& args);
}  // namespace cpu

}  // namespace ghost
