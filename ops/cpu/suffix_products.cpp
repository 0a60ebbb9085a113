#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/suffix_products_kernels.h"

namespace ghost::cpu {

void matrix_products(const MatrixProducts& args) {
  const std::int64_t n = args.a.dim(0);
  const std::int64_t rank = args.a.dim(-1);
  const std::int64_t columns = args.b.numel() / (n * rank);
  visit_real(args.a.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (n * rank * rank * columns > kParallelElements)
    for (std::int64_t row = 0; row < n * rank; ++row) {
      const T* a = args.a.data<T>() + row * rank;
      const T* b = args.b.data<T>() + row / rank * rank * columns;
      T* c = args.c.data<T>() + row * columns;
      std::fill_n(c, columns, T{0});
      for (std::int64_t i = 0; i < rank; ++i) {
        for (std::int64_t col = 0; col < columns; ++col) {
          c[col] += a[i] * b[i * columns + col];
        }
      }
    }
  });
}

void identity_matrices(const Tensor& matrices) {
  const std::int64_t rank = matrices.dim(-1);
  visit_real(matrices.dtype(), [&]<typename T>() {
    T* at = matrices.data<T>();
    for (std::int64_t i = 0; i < matrices.numel(); ++i) {
      at[i] = i / rank % rank == i % rank ? T{1} : T{0};
    }
  });
}

}  // namespace ghost::cpu
