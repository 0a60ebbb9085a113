#include "ops/cpu/gemm.h"
#include "ops/row_sketch_kernels.h"

namespace ghost::cpu {

void row_sketch(const DenseSketch& args) {
  const std::int64_t columns = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / columns;
  visit_real(args.x.dtype(), [&]<typename T>() {
    const std::vector<T> matrix(args.matrix->begin(), args.matrix->end());
    gemm({.m = args.out.dim(0), .n = columns, .k = rows}, T{1}, {matrix.data(), rows},
         {args.x.data<T>(), columns}, args.accumulate ? T{1} : T{0}, {args.out.data<T>(), columns});
  });
}

double squared_norm_of_product(const Tensor& dy, const Tensor& x) {
  const std::int64_t rank = x.dim(0);
  double sum = 0;
  visit_real(x.dtype(), [&]<typename T>() {
    const auto gram = [&](const Tensor& a) {
      std::vector<T> out(static_cast<std::size_t>(rank * rank));
      const std::int64_t columns = a.dim(-1);
      gemm({.m = rank, .n = rank, .k = columns}, T{1}, {a.data<T>(), columns},
           {a.data<T>(), columns, Transpose::kYes}, T{0}, {out.data(), rank});
      return out;
    };
    const std::vector<T> of_dy = gram(dy);
    const std::vector<T> of_x = gram(x);
    for (std::size_t i = 0; i < of_x.size(); ++i) {
      sum += static_cast<double>(of_dy[i]) * static_cast<double>(of_x[i]);
    }
  });
  return sum;
}

double squared_norm(const Tensor& x) {
  double total = 0;
  visit_real(x.dtype(), [&]<typename T>() {
    const T* values = x.data<T>();
    const std::int64_t n = x.numel();
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < n; ++i) {
      total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
  });
  return total;
}

}  // namespace ghost::cpu
