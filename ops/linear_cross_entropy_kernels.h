#pragma once

#include <vector>

#include "engine/tensor/tensor.h"
#include "ops/row_bins.h"

namespace ghost {

/// Checks the targets and counts those that are not ignored.
struct CrossEntropyCount {
  Tensor targets;  // [rows]
  std::int32_t ignore_index;
  std::int64_t vocab_size;
  std::int64_t* count;
};

/// The head's rows and what counts in them.
struct CrossEntropyRows {
  Tensor x;        // [rows, C]
  Tensor weight;   // [V, C]; V >= vocab_size, the rest is padding
  Tensor targets;  // [rows]
  Tensor lse;      // [rows]: log sum exp of the logits
  std::int32_t ignore_index;
  std::int64_t vocab_size;
};

/// The logits x weight^T exist a piece at a time: a chunk of rows, a strip of the vocabulary.
/// Strips are shared out among parts; parts run side by side, and their number depends on sizes
/// alone.
struct CrossEntropyPieces {
  std::int64_t chunk_rows = 0;
  std::int64_t strip_columns = 0;
  std::int64_t num_strips = 0;
  std::int64_t num_parts = 0;
};

/// lse and losses of all rows.
struct CrossEntropyLoss {
  CrossEntropyRows in;
  CrossEntropyPieces pieces;
  Tensor losses;  // [rows]
  /// exp(logits - maximum of the row in its strip): [strips, chunk_rows, strip_columns] to be held,
  /// those of the last chunk in the end; [parts, chunk_rows, strip_columns] as scratch.
  Tensor exponentials;
  Tensor maxima;  // [strips, chunk_rows]
  Tensor sums;    // [strips, chunk_rows], scratch
};

/// A sketch of the gradient of the logits, formed while they are at hand.
struct LogitsSketch {
  const RowBins* bins = nullptr;                // S as bins; without outputs when it is dense
  const std::vector<double>* matrix = nullptr;  // S [R, rows] when it is dense
  Tensor out;                                   // [R, V]
  double* squared_norm = nullptr;               // grows by |dlogits|^2
  double* row_squares = nullptr;                // [rows] grow by |dlogits_i|^2; null: not asked for
};

/// With dlogits = scale * (exp(logits - lse) - onehot(target)), piece by piece:
///   dx = dlogits weight,   dweight = alpha dlogits^T x,   sketch.out = S dlogits
struct CrossEntropyGradient {
  CrossEntropyRows in;
  CrossEntropyPieces pieces;
  double scale;
  Tensor dx;       // [rows, C] or undefined
  Tensor dweight;  // [V, C] or undefined
  double alpha = 1;
  bool accumulate_dweight = false;
  const LogitsSketch* sketch = nullptr;
  Tensor exponentials;  // held by CrossEntropyLoss; undefined: logits are made again
  Tensor maxima;        // likewise
  Tensor dlogits;       // [parts, chunk_rows, strip_columns], scratch
  Tensor dx_parts;      // [parts, chunk_rows, C], scratch
};

/// Both in one go, chunk by chunk, with exponentials that are held.
struct CrossEntropyLossAndGradient {
  CrossEntropyLoss loss;
  CrossEntropyGradient gradient;
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
void linear_cross_entropy(const CrossEntropyLossAndGradient& args);
void linear_cross_entropy(const CrossEntropyMean& args);
void linear_cross_entropy(const CrossEntropyScale& args);
}  // namespace cpu

}  // namespace ghost
