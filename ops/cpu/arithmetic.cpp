#include "ops/arithmetic_kernels.h"
#include "ops/cpu/parallel.h"

namespace ghost::cpu {

void arithmetic(const Add& args) {
  const std::int64_t n = args.y.numel();
  visit_floating(args.y.dtype(), [&]<typename T>() {
    const T* a = args.a.data<T>();
    const T* b = args.b.data<T>();
    T* y = args.y.data<T>();
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      put(y[i], widen(a[i]) + widen(b[i]));
    }
  });
}

void arithmetic(const MulScalar& args) {
  const std::int64_t n = args.y.numel();
  visit_floating(args.y.dtype(), [&]<typename T>() {
    const T* x = args.x.data<T>();
    T* y = args.y.data<T>();
    const auto factor = static_cast<RealOf<T>>(args.factor);
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      put(y[i], widen(x[i]) * factor);
    }
  });
}

}  // namespace ghost::cpu
