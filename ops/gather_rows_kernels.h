#pragma once

#include "engine/tensor/tensor.h"
#include "ops/row_bins.h"

namespace ghost {

/// out = (accumulate ? out : 0) + S x with S as `bins`, and in the same pass over x what needs all
/// of its rows: their squares and their sum.
struct GatherRows {
  Tensor x;                        // [rows, C]
  const RowBins* bins = nullptr;   // entries point into x
  Tensor out;                      // [bins->num_outputs, C]; undefined without outputs
  bool accumulate = false;         // into out
  double* squared_norm = nullptr;  // grows by |x|^2; null: not asked for
  Tensor column_sums;              // [C], or undefined: not asked for
  bool accumulate_column_sums = false;
};

/// out[b] = |x_b|
struct RowNorms {
  Tensor x;    // [rows, C]
  Tensor out;  // [rows]
};

namespace cpu {
void gather_rows(const GatherRows& args);
void gather_rows(const RowNorms& args);
}  // namespace cpu

}  // namespace ghost
