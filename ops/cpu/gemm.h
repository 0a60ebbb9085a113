#pragma once

#include <cstdint>
#include <string>

#include "engine/tensor/dtype.h"

namespace ghost::cpu {

enum class Transpose { kNo, kYes };

/// A matrix operand: row-major elements and the distance between rows.
template <typename T>
struct Matrix {
  T* data;
  std::int64_t stride;  // in elements
  Transpose transpose = Transpose::kNo;
};

struct GemmSize {
  std::int64_t m;
  std::int64_t n;
  std::int64_t k;
};

/// C [m, n] = alpha * op(A) [m, k] * op(B) [k, n] + beta * C; beta = 0 overwrites C whatever it
/// holds. f32 runs in oneDNN, on all threads or, inside a parallel region, on the calling one; f64
/// is the plain reference.
void gemm(const GemmSize& size, float alpha, const Matrix<const float>& a,
          const Matrix<const float>& b, float beta, const Matrix<float>& c);
void gemm(const GemmSize& size, double alpha, const Matrix<const double>& a,
          const Matrix<const double>& b, double beta, const Matrix<double>& c);
/// bf16 products summed in f32, by oneDNN's bf16 kernels where the CPU has instructions for them
/// (AMX, AVX512-BF16), else in f32 on widened copies. C in bf16 takes beta = 0 only.
void gemm(const GemmSize& size, float alpha, const Matrix<const BFloat16>& a,
          const Matrix<const BFloat16>& b, float beta, const Matrix<float>& c);
void gemm(const GemmSize& size, float alpha, const Matrix<const BFloat16>& a,
          const Matrix<const BFloat16>& b, float beta, const Matrix<BFloat16>& c);

/// How products of bf16 run on this CPU: "AMX", "AVX512-BF16" or "f32".
std::string bf16_gemm_path();

/// The plain definition, for f64 and as the yardstick of the fast path.
template <typename T>
void reference_gemm(const GemmSize& size, T alpha, const Matrix<const T>& a,
                    const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  const bool is_a_transposed = a.transpose == Transpose::kYes;
  const bool is_b_transposed = b.transpose == Transpose::kYes;
#pragma omp parallel for schedule(static) if (size.m * size.n * size.k > (1 << 16))
  for (std::int64_t row = 0; row < size.m; ++row) {
    T* out = c.data + row * c.stride;
    for (std::int64_t col = 0; col < size.n; ++col) {
      T sum = 0;
      for (std::int64_t i = 0; i < size.k; ++i) {
        const T x = is_a_transposed ? a.data[i * a.stride + row] : a.data[row * a.stride + i];
        const T y = is_b_transposed ? b.data[col * b.stride + i] : b.data[i * b.stride + col];
        sum += x * y;
      }
      out[col] = alpha * sum + (beta == 0 ? T{0} : beta * out[col]);
    }
  }
}

}  // namespace ghost::cpu
