#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// Checks the targets and counts those that are not ignored.
struct CrossEntropyCount {
  Tensor targets;  // [rows]
  std::int32_t ignore_index;
  std::int64_t vocab_size;
  std::int64_t* count;
};

/// Losses of a chunk of rows.
struct CrossEntropyLoss {
  Tensor logits;   // [n, V]; V >= vocab_size
  Tensor targets;  // [n]
  Tensor lse;      // [n]
  Tensor losses;   // [n]
  std::int32_t ignore_index;
  std::int64_t vocab_size;
  /// The logits become scale * (softmax - onehot(target)); otherwise they stay.
  bool makes_gradient;
  double scale;
};

/// Logits of a chunk, made again, become scale * (exp(logits - lse) - onehot(target)).
struct CrossEntropyGradient {
  Tensor logits;   // [n, V]
  Tensor targets;  // [n]
  Tensor lse;      // [n]
  std::int32_t ignore_index;
  std::int64_t vocab_size;
  double scale;
};

/// loss = sum of losses / count
struct CrossEntropyMean {
  Tensor losses;  // [rows]
  Tensor loss;    // [1]
  std::int64_t count;
};

/// out[p] = dloss[p] * x
struct CrossEntropyScale {
  Tensor dloss;  // [P, 1]
  Tensor x;      // [rows, C]
  Tensor out;    // [P, rows, C]
};

namespace cpu {
void linear_cross_entropy(const CrossEntropyCount& args);
void linear_cross_entropy(const CrossEntropyLoss& args);
void linear_cross_entropy(const CrossEntropyGradient& args);
void linear_cross_entropy(const CrossEntropyMean& args);
void linear_cross_entropy(const CrossEntropyScale& args);
}  // namespace cpu

}  // namespace ghost
