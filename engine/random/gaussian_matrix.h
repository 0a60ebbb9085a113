#pragma once

#include <cstdint>

#include "engine/tensor/tensor.h"

namespace ghost {

/// A matrix of standard normal numbers that is never stored: element e, counted row by row, is a
/// function of its names alone, so any rows of it can be drawn at any time and in any order.
///
///   Philox4x32-10, key = seed, counter = (e/4 low, e/4 high, id, generation), lane e mod 4;
///   lanes (0, 1) and (2, 3) become two normal numbers each (Box and Muller 1958)
struct GaussianMatrix {
  std::uint64_t seed = 0;
  std::uint32_t id = 0;          // tells the matrices of one seed apart
  std::uint32_t generation = 0;  // another one gives another matrix of the same name
  std::int64_t columns = 0;

  /// Rows [first_row, first_row + out.dim(0)) into columns [first_column, first_column + columns)
  /// of `out`, [rows, >= first_column + columns], which is f32, f64 or bf16. A number is made in
  /// f64 and rounded, to f32 first where it is bf16; that of a GPU may differ in f64's last digits.
  void draw(const Tensor& out, std::int64_t first_row = 0, std::int64_t first_column = 0) const;
};

}  // namespace ghost
