#include <algorithm>

#include "ops/jacobian_columns_kernels.h"

namespace ghost::cpu {

void jacobian_columns(const BasisCotangents& args) {
  const std::int64_t batch = args.y.dim(1);
  const std::int64_t width = args.y.dim(2);
  visit_floating(args.y.dtype(), [&]<typename T>() {
    std::fill_n(args.y.data<T>(), args.y.numel(), T{});
    for (std::int64_t row = 0; row < args.y.dim(0) * batch; ++row) {
      put(args.y.data<T>()[row * width + args.first + row / batch], 1);
    }
  });
}

void jacobian_columns(const WriteColumns& args) {
  const std::int64_t batch = args.matrices.dim(0);
  const std::int64_t width = args.matrices.dim(1);
  visit_floating(args.rows.dtype(), [&]<typename T>() {
    const T* row = args.rows.data<T>();
    for (std::int64_t p = 0; p < args.rows.dim(0); ++p) {
      for (std::int64_t b = 0; b < batch; ++b, row += width) {
        T* column = args.matrices.data<T>() + b * width * width + args.first + p;
        for (std::int64_t i = 0; i < width; ++i) {
          column[i * width] = row[i];
        }
      }
    }
  });
}

}  // namespace ghost::cpu
