#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct LinearCrossEntropyForward {
  Tensor x;        // [rows, C]
  Tensor weight;   // [V, C]
  Tensor targets;  // [rows]
  Tensor lse;      // [rows]
  Tensor losses;   // [rows], scratch
  Tensor logits;   // [chunk, V], scratch
  Tensor loss;     // [1]
  std::int32_t ignore_index;
  std::int64_t vocab_size;  // at most V
};

struct LinearCrossEntropyBackward {
  Tensor x;        // [rows, C]
  Tensor weight;   // [V, C]
  Tensor targets;  // [rows]
  Tensor lse;      // [rows]
  Tensor dloss;    // [P, 1]
  Tensor logits;   // [chunk, V], scratch
  Tensor dx;       // [P, rows, C] or undefined
  Tensor dweight;  // [V, C] or undefined; P = 1
  bool accumulate_dweight;
  std::int32_t ignore_index;
  std::int64_t vocab_size;  // at most V
};

namespace cpu {
void linear_cross_entropy(const LinearCrossEntropyForward& args);
void linear_cross_entropy(const LinearCrossEntropyBackward& args);
}  // namespace cpu

}  // namespace ghost
