#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/split_kernels.h"

namespace ghost::cpu {
namespace {

/// Calls copy_row(row of a part, row of x, width) for every part of every row.
template <typename T, typename CopyRow>
void for_each_part(const Tensor& x, const Tensors& parts, CopyRow&& copy_row) {
  const std::int64_t columns = x.dim(-1);
  const std::int64_t rows = x.numel() / columns;
#pragma omp parallel for schedule(static) if (x.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    T* at = x.data<T>() + row * columns;
    for (const Tensor& part : parts) {
      const std::int64_t width = part.dim(-1);
      copy_row(part.data<T>() + row * width, at, width);
      at += width;
    }
  }
}

}  // namespace

void split(const Split& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() {
    for_each_part<T>(args.x, args.parts,
                     [](T* part, const T* x, std::int64_t width) { std::copy_n(x, width, part); });
  });
}

void split(const Join& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() {
    for_each_part<T>(args.x, args.parts,
                     [](const T* part, T* x, std::int64_t width) { std::copy_n(part, width, x); });
  });
}

}  // namespace ghost::cpu
