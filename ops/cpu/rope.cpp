#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/rope_kernels.h"

namespace ghost::cpu {
namespace {

// cos and sin of every position and pair, [T, pairs] each.
template <typename T>
struct Angles {
  std::vector<T> cos;
  std::vector<T> sin;
};

template <typename T>
Angles<T> angles_of(const Rope& args) {
  const std::int64_t pairs = args.rotated_dim / 2;
  std::vector<double> frequencies(static_cast<std::size_t>(pairs));
  for (std::int64_t i = 0; i < pairs; ++i) {
    frequencies[static_cast<std::size_t>(i)] = std::pow(
        args.options.base, -2.0 * static_cast<double>(i) / static_cast<double>(args.rotated_dim));
  }
  const auto size = static_cast<std::size_t>(args.seq_len * pairs);
  Angles<T> out{std::vector<T>(size), std::vector<T>(size)};
  const double sign = args.is_inverse ? -1 : 1;
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
  for (std::int64_t t = 0; t < args.seq_len; ++t) {
    const auto position = static_cast<double>(args.options.start + t);
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle = position * frequencies[static_cast<std::size_t>(i)];
      const auto at = static_cast<std::size_t>(t * pairs + i);
      out.cos[at] = static_cast<T>(std::cos(angle));
      out.sin[at] = static_cast<T>(sign * std::sin(angle));
    }
  }
  return out;
}

// Pair i is (x[i * stride], x[i * stride + partner]).
template <typename T>
void turn_pairs(const T* x, const RealOf<T>* cos, const RealOf<T>* sin, T* y, std::int64_t pairs,
                std::int64_t stride, std::int64_t partner) {
#pragma omp simd
  for (std::int64_t i = 0; i < pairs; ++i) {
    const RealOf<T> a = widen(x[i * stride]);
    const RealOf<T> b = widen(x[i * stride + partner]);
    put(y[i * stride], a * cos[i] - b * sin[i]);
    put(y[i * stride + partner], a * sin[i] + b * cos[i]);
  }
}

template <typename T>
void turn(const Rope& args) {
  const RopeOptions& options = args.options;
  const std::int64_t pairs = args.rotated_dim / 2;
  const std::int64_t width = options.heads * options.head_dim;
  const std::int64_t rows = args.x.numel() / width;
  using Real = RealOf<T>;
  const Angles<Real> angles = angles_of<Real>(args);
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * width;
    T* y = args.y.data<T>() + row * width;
    const Real* cos = angles.cos.data() + row % args.seq_len * pairs;
    const Real* sin = angles.sin.data() + row % args.seq_len * pairs;
    for (std::int64_t head = 0; head < options.rotated_heads; ++head) {
      switch (options.pairs) {  // constant strides, so that each form vectorises
        case RopePairs::kInterleaved:
          turn_pairs(x, cos, sin, y, pairs, 2, 1);
          break;
        case RopePairs::kHalves:
          turn_pairs(x, cos, sin, y, pairs, 1, pairs);
          break;
      }
      std::copy(x + args.rotated_dim, x + options.head_dim, y + args.rotated_dim);
      x += options.head_dim;
      y += options.head_dim;
    }
    std::copy_n(x, (options.heads - options.rotated_heads) * options.head_dim, y);
  }
}

}  // namespace

void rope(const Rope& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { turn<T>(args); });
}

}  // namespace ghost::cpu
