#pragma once

#include "ops/row_bins_kernels.h"

namespace ghost {

/// out = (accumulate ? out : 0) + S x with S as `bins`, and in the same pass over x what needs all
/// of its rows: their squares and their sum. Of x the columns [first_column, first_column + C).
struct GatherRows {
  Tensor x;                        // [rows, first_column + C or more]
  std::int64_t first_column = 0;   // with `out`
  const RowBins* bins = nullptr;   // entries point into x
  Tensor out;                      // [bins->num_outputs, C] in statistic_dtype of x; undefined
                                   // without outputs: C is all
  bool accumulate = false;         // into out
  double* squared_norm = nullptr;  // grows by |x|^2; null: not asked for
  Tensor column_sums;              // [C], or undefined: not asked for
  bool accumulate_column_sums = false;
};

/// The same with bins on a GPU; of a piece of x, the rows [first_row, first_row + n) of those that
/// the bins speak of.
struct DeviceGatherRows {
  Tensor x;  // [n, stride]
  std::int64_t first_column = 0;
  std::int64_t columns = 0;  // C: of x from first_column on
  std::int64_t first_row = 0;
  const DeviceBins* bins = nullptr;
  Tensor out;               // [bins->num_outputs, C], dtype of x or f32; or undefined
  bool accumulate = false;  // into out
  Tensor squared_norm;      // [1] f64, grows by |x|^2; undefined: not asked for
  Tensor column_sums;       // [C] f32, or undefined: not asked for
  bool accumulate_column_sums = false;
};

/// out[b] = |x_b|
struct RowNorms {
  Tensor x;    // [rows, C]
  Tensor out;  // [rows], statistic_dtype of x
};

namespace cpu {
void gather_rows(const GatherRows& args);
void gather_rows(const RowNorms& args);
}  // namespace cpu

namespace cuda {
/// Scratch comes from the context.
void gather_rows(const Context& ctx, const DeviceGatherRows& args);
/// Rows of C columns, or the first `columns` ones.
void gather_rows(const RowNorms& args, std::int64_t columns = 0);
}  // namespace cuda

}  // namespace ghost
