#include <algorithm>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/sum_kernels.h"

namespace ghost::cpu {
namespace {

// Pieces of fixed size, then the sums of pieces in order: the same bits on any number of threads.
template <typename T>
double sum_of(const T* x, std::int64_t n) {
  constexpr std::int64_t kPiece = 4096;
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  std::vector<double> partial(static_cast<std::size_t>(pieces));
#pragma omp parallel for schedule(static) if (n > kParallelElements)
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const std::int64_t end = std::min(n, (piece + 1) * kPiece);
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = piece * kPiece; i < end; ++i) {
      total += to_double(x[i]);
    }
    partial[static_cast<std::size_t>(piece)] = total;
  }
  double total = 0;
  for (const double value : partial) {
    total += value;
  }
  return total;
}

}  // namespace

void sum(const SumForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() {
    *args.y.data<RealOf<T>>() =
        static_cast<RealOf<T>>(args.factor * sum_of(args.x.data<T>(), args.x.numel()));
  });
}

void sum(const SumBackward& args) {
  const std::int64_t basis = args.dy.dim(0);
  const std::int64_t n = args.dx.numel() / basis;
  visit_floating(args.dx.dtype(), [&]<typename T>() {
    for (std::int64_t p = 0; p < basis; ++p) {
      T value{};
      put(value, static_cast<RealOf<T>>(args.factor) * args.dy.data<RealOf<T>>()[p]);
      T* dx = args.dx.data<T>() + p * n;
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
      for (std::int64_t i = 0; i < n; ++i) {
        put(dx[i], widen(value));
      }
    }
  });
}

}  // namespace ghost::cpu
