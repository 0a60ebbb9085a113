#include "ops/cpu/column_sums.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/linear_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
void add_bias(const T* bias, T* y, std::int64_t rows, std::int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    T* out = y + row * cols;
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      put(out[c], widen(out[c]) + widen(bias[c]));
    }
  }
}

}  // namespace

void linear(const LinearForward& args) {
  const std::int64_t m = args.weight.dim(0);
  const std::int64_t n = args.weight.dim(1);
  const std::int64_t rows = args.x.numel() / n;
  visit_floating(args.x.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
    gemm({.m = rows, .n = m, .k = n}, Real{1}, Matrix<const T>{args.x.data<T>(), n},
         {args.weight.data<T>(), n, Transpose::kYes}, Real{0}, Matrix<T>{args.y.data<T>(), m});
    if (args.bias.defined()) {
      add_bias(args.bias.data<T>(), args.y.data<T>(), rows, m);
    }
  });
}

void linear(const LinearInputBackward& args) {
  const std::int64_t m = args.weight.dim(0);
  const std::int64_t n = args.weight.dim(1);
  visit_floating(args.dy.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
    gemm({.m = args.dy.numel() / m, .n = n, .k = m}, Real{1}, Matrix<const T>{args.dy.data<T>(), m},
         {args.weight.data<T>(), n}, Real{0}, Matrix<T>{args.dx.data<T>(), n});
  });
}

void linear(const LinearWeightBackward& args) {
  const std::int64_t m = args.dweight.dim(0);
  const std::int64_t n = args.x.dim(-1);
  visit_floating(args.dy.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
    gemm({.m = m, .n = n, .k = args.x.numel() / n}, static_cast<Real>(args.alpha),
         Matrix<const T>{args.dy.data<T>(), m, Transpose::kYes}, {args.x.data<T>(), n},
         args.accumulate ? Real{1} : Real{0},
         Matrix<Real>{args.dweight.data<Real>() + args.first_column, args.dweight.dim(1)});
  });
}

void linear(const LinearBiasBackward& args) {
  const std::int64_t m = args.dbias.numel();
  visit_floating(args.dy.dtype(), [&]<typename T>() {
    column_sums(args.dy.data<T>(), args.dy.numel() / m, m, args.accumulate,
                args.dbias.data<RealOf<T>>());
  });
}

}  // namespace ghost::cpu
