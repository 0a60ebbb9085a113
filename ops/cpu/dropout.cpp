#include <algorithm>
#include <array>

#include "ops/cpu/parallel.h"
#include "ops/dropout_kernels.h"

namespace ghost::cpu {
namespace {

// The words of a piece stay in L1 while all P tensors pass over it.
template <typename T>
void drop(const Dropout& args) {
  constexpr std::int64_t kPiece = 1024;
  const std::int64_t n = args.x.numel() / args.basis;
  const auto factor = static_cast<RealOf<T>>(args.factor);
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements / 4)
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t size = std::min(kPiece, n - begin);
    std::array<std::uint32_t, kPiece> words;
    args.stream.fill(static_cast<std::uint32_t>(begin / 4),
                     std::span(words).first(static_cast<std::size_t>(size)));
    for (std::int64_t p = 0; p < args.basis; ++p) {
      const T* x = args.x.data<T>() + p * n + begin;
      T* y = args.y.data<T>() + p * n + begin;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) {
        const bool is_kept = words[static_cast<std::size_t>(i)] >> 8 >= args.threshold;
        put(y[i], is_kept ? widen(x[i]) * factor : 0);
      }
    }
  }
}

}  // namespace

void dropout(const Dropout& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { drop<T>(args); });
}

}  // namespace ghost::cpu
