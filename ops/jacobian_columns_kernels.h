#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y[p, b, i] = 1 where i = first + p, else 0
struct BasisCotangents {
  Tensor y;  // [P, B, N]
  std::int64_t first;
};

/// matrices[b, i, first + p] = rows[p, b, i]
struct WriteColumns {
  Tensor rows;  // [P, B, N]
  std::int64_t first;
  Tensor matrices;  // [B, N, N]
};

namespace cpu {
void jacobian_columns(const BasisCotangents& args);
void jacobian_columns(const WriteColumns& args);
}  // namespace cpu

namespace cuda {
void jacobian_columns(const BasisCotangents& args);
void jacobian_columns(const WriteColumns& args);
}  // namespace cuda

}  // namespace ghost
