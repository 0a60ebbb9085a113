#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/tensor/tensor.h"

namespace ghost::cuda {

enum class Transpose { kNo, kYes };

/// A matrix operand on a GPU: row-major elements, f32 or bf16, and the distances between rows and
/// between the matrices of a batch.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t stride = 0;  // in elements
  Transpose transpose = Transpose::kNo;
  std::int64_t batch_stride = 0;  // in elements
};

/// x [..., C] as one matrix of rows of C.
inline Matrix matrix_of(const Tensor& x, Transpose transpose = Transpose::kNo) {
  return {.data = x.raw(), .dtype = x.dtype(), .stride = x.dim(-1), .transpose = transpose};
}

/// The same from column `first` on.
inline Matrix matrix_of(const Tensor& x, std::int64_t first) {
  Matrix matrix = matrix_of(x);
  matrix.data = static_cast<std::byte*>(matrix.data) + first * itemsize(x.dtype());
  return matrix;
}

/// C [m, n] = alpha * op(A) [m, k] * op(B) [k, n] + beta * C + bias, for every matrix of a batch;
/// beta = 0 overwrites C whatever it holds.
struct Gemm {
  std::int64_t m;
  std::int64_t n;
  std::int64_t k;
  Matrix a;
  Matrix b;  // dtype of a
  Matrix c;  // not transposed; dtype of a, or f32
  float alpha = 1;
  float beta = 0;
  std::int64_t batch = 1;
  const void* bias = nullptr;  // [n] in c's dtype, 16-byte aligned, batch = 1; null: none
};

/// Runs in cuBLASLt on the device's stream. Products of f32 are f32 throughout (no TF32); those of
/// bf16 run on tensor cores with f32 accumulation, also where the sum over k is split. The same
/// call gives the same bits. The first call with a problem looks up its algorithm and keeps it, as
/// does the first call on a device its handle and workspace (32 MiB, outside of the memory meter);
/// a graph may only be captured after that.
/// throws  ghost::Error when cuBLASLt fails or has no algorithm
void gemm(const Device& device, const Gemm& args);

}  // namespace ghost::cuda
