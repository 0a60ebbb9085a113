#include <algorithm>
#include <numeric>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/sketch_matrix.h"
#include "ops/row_sketch_kernels.h"

namespace ghost::cpu {

void row_sketch(const DenseSketch& args) {
  const std::int64_t columns = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / columns;
  visit_floating(args.x.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
    const std::vector<T> matrix = sketch_matrix<T>(*args.matrix);
    gemm({.m = args.out.dim(0), .n = columns, .k = rows}, Real{1},
         Matrix<const T>{matrix.data(), rows}, {args.x.data<T>(), columns},
         args.accumulate ? Real{1} : Real{0}, Matrix<Real>{args.out.data<Real>(), columns});
  });
}

double squared_norm_of_product(const Tensor& dy, const Tensor& x) {
  const std::int64_t rank = x.dim(0);
  double sum = 0;
  visit_floating(x.dtype(), [&]<typename T>() {
    const auto gram = [&](const Tensor& a) {
      using Real = RealOf<T>;
      std::vector<Real> out(static_cast<std::size_t>(rank * rank));
      const std::int64_t columns = a.dim(-1);
      gemm({.m = rank, .n = rank, .k = columns}, Real{1}, Matrix<const T>{a.data<T>(), columns},
           {a.data<T>(), columns, Transpose::kYes}, Real{0}, Matrix<Real>{out.data(), rank});
      return out;
    };
    const auto of_dy = gram(dy);
    const auto of_x = gram(x);
    for (std::size_t i = 0; i < of_x.size(); ++i) {
      sum += static_cast<double>(of_dy[i]) * static_cast<double>(of_x[i]);
    }
  });
  return sum;
}

double squared_norm(const Tensor& x) {
  // Of pieces, added up in their order: the same for any number of threads.
  constexpr std::int64_t kPiece = 1 << 14;
  const std::int64_t n = x.numel();
  std::vector<double> parts(static_cast<std::size_t>((n + kPiece - 1) / kPiece));
  visit_floating(x.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (n > kParallelElements)
    for (std::int64_t begin = 0; begin < n; begin += kPiece) {
      const T* values = x.data<T>() + begin;
      const std::int64_t size = std::min(kPiece, n - begin);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < size; ++i) {
        sum += to_double(values[i]) * to_double(values[i]);
      }
      parts[static_cast<std::size_t>(begin / kPiece)] = sum;
    }
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

}  // namespace ghost::cpu
