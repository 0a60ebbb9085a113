#include <algorithm>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/suffix_products_kernels.h"

namespace ghost::cpu {

void matrix_products(const MatrixProducts& args) {
  const std::int64_t n = args.a.dim(0);
  const std::int64_t rank = args.a.dim(-1);
  const std::int64_t columns = args.b.numel() / (n * rank);
  visit_floating(args.a.dtype(), [&]<typename T>() {
#pragma omp parallel if (n * rank * rank * columns > kParallelElements)
    {
      std::vector<RealOf<T>> sums(static_cast<std::size_t>(columns));
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < n * rank; ++row) {
        const T* a = args.a.data<T>() + row * rank;
        const T* b = args.b.data<T>() + row / rank * rank * columns;
        RealOf<T>* sum = sums.data();
        std::fill_n(sum, columns, RealOf<T>{0});
        for (std::int64_t i = 0; i < rank; ++i) {
          for (std::int64_t col = 0; col < columns; ++col) {
            sum[col] += widen(a[i]) * widen(b[i * columns + col]);
          }
        }
        T* c = args.c.data<T>() + row * columns;
        for (std::int64_t col = 0; col < columns; ++col) {
          put(c[col], sum[col]);
        }
      }
    }
  });
}

void identity_matrices(const Tensor& matrices) {
  const std::int64_t rank = matrices.dim(-1);
  visit_floating(matrices.dtype(), [&]<typename T>() {
    T* at = matrices.data<T>();
    for (std::int64_t i = 0; i < matrices.numel(); ++i) {
      put(at[i], i / rank % rank == i % rank ? 1 : 0);
    }
  });
}

}  // namespace ghost::cpu
