#pragma once

#include <functional>
#include <vector>

#include "engine/tensor/tensor.h"
#include "ops/row_bins.h"

namespace ghost {

/// Checks the targets and counts those that are not ignored. Where one is out of range the CPU
/// throws; a GPU, which could only say so to a host that waits, makes the count NaN, and with it
/// the loss and all gradients. Where none counts, the CPU throws and a GPU's loss is 0 / 0.
struct CrossEntropyCount {
  Tensor targets;  // [rows]
  std::int32_t ignore_index;
  std::int64_t vocab_size;
  Tensor count;  // [1] f64
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
/// alone. On a GPU one strip holds all of the vocabulary, its columns padded to whole accesses.
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
  /// exp(logits - maximum of the row in its strip), on a GPU the logits themselves: [strips,
  /// chunk_rows, strip_columns] to be held, those of the last chunk in the end; [parts, chunk_rows,
  /// strip_columns] as scratch.
  Tensor exponentials;
  Tensor maxima;  // [strips, chunk_rows]; not used on a GPU
  Tensor sums;    // [strips, chunk_rows], scratch; likewise
};

/// A sketch of the gradient of the logits, formed while they are at hand.
struct LogitsSketch {
  const RowBins* bins = nullptr;                // S as bins; without outputs when it is dense
  const std::vector<double>* matrix = nullptr;  // S [R, rows] when it is dense
  Tensor out;                                   // [R, V]
  double* squared_norm = nullptr;               // grows by |dlogits|^2
  double* row_squares = nullptr;                // [rows] grow by |dlogits_i|^2; null: not asked for
  /// A GPU's sketch instead of all this: takes dlogits of the rows from first_row on, [n, >= V].
  std::function<void(const Tensor& dlogits, std::int64_t first_row)> add;
};

/// With dlogits = (exp(logits - lse) - onehot(target)) / count, piece by piece:
///   dx = dlogits weight,   dweight = cotangent dlogits^T x,   sketch.out = S dlogits
/// On a GPU the cotangent is a factor of dlogits, and so of dx, too.
struct CrossEntropyGradient {
  CrossEntropyRows in;
  CrossEntropyPieces pieces;
  Tensor count;      // [1] f64
  Tensor cotangent;  // of the loss, one number; undefined: 1
  Tensor dx;         // [rows, C] or undefined
  Tensor dweight;    // [V, C] or undefined
  bool accumulate_dweight = false;
  const LogitsSketch* sketch = nullptr;
  Tensor exponentials;  // held by CrossEntropyLoss; undefined: logits are made again
  Tensor maxima;        // likewise
  Tensor dlogits;       // [parts, chunk_rows, strip_columns] in dtype of x, scratch
  // On a CPU, in statistic_dtype of x:
  Tensor logits;    // as dlogits, which may be the same; undefined where exponentials are held
  Tensor dx_parts;  // [parts, chunk_rows, C], scratch
};

/// Both in one go, chunk by chunk, with exponentials that are held. On a GPU dlogits take their
/// place.
struct CrossEntropyLossAndGradient {
  CrossEntropyLoss loss;
  CrossEntropyGradient gradient;
};

/// loss = sum of losses / count
struct CrossEntropyMean {
  Tensor losses;  // [rows]
  Tensor loss;    // [1]
  Tensor count;   // [1] f64
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

namespace cuda {
void linear_cross_entropy(const CrossEntropyCount& args);
void linear_cross_entropy(const CrossEntropyLoss& args);
void linear_cross_entropy(const CrossEntropyGradient& args);
void linear_cross_entropy(const CrossEntropyLossAndGradient& args);
void linear_cross_entropy(const CrossEntropyMean& args);
void linear_cross_entropy(const CrossEntropyScale& args);
}  // namespace cuda

}  // namespace ghost
