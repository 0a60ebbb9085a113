#include "ops/cpu/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include "engine/core/error.h"

namespace ghost::cpu {

void gemm(const GemmSize& size, float alpha, const Matrix<const float>& a,
          const Matrix<const float>& b, float beta, const Matrix<float>& c) {
  const auto letter = [](Transpose transpose) { return transpose == Transpose::kYes ? 'T' : 'N'; };
  const dnnl_status_t status =
      dnnl_sgemm(letter(a.transpose), letter(b.transpose), size.m, size.n, size.k, alpha, a.data,
                 a.stride, b.data, b.stride, beta, c.data, c.stride);
  GHOST_CHECK(status == dnnl_success, "oneDNN sgemm of m {}, n {}, k {} failed with status {}",
              size.m, size.n, size.k, static_cast<int>(status));
}

void gemm(const GemmSize& size, double alpha, const Matrix<const double>& a,
          const Matrix<const double>& b, double beta, const Matrix<double>& c) {
  reference_gemm(size, alpha, a, b, beta, c);
}

}  // namespace ghost::cpu
