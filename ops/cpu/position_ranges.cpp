#include <algorithm>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"
#include "ops/position_ranges_kernels.h"

namespace ghost::cpu {
namespace {

template <typename Real>
Real weight_of(const PositionRange& range, RangeWeight weight) {
  return weight == RangeWeight::kMean ? 1 / static_cast<Real>(range.size()) : Real{1};
}

template <typename T>
void add_row(const T* x, RealOf<T> factor, RealOf<T>* sums, std::int64_t channels) {
#pragma omp simd
  for (std::int64_t c = 0; c < channels; ++c) {
    sums[c] += factor * widen(x[c]);
  }
}

}  // namespace

void position_ranges(const SumOverRanges& args) {
  const std::int64_t seq_len = args.x.dim(-2);
  const std::int64_t channels = args.x.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t rows = args.v.numel() / channels;
  visit_floating(args.x.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
#pragma omp parallel if (args.x.numel() > kParallelElements)
    {
      std::vector<Real> sums(static_cast<std::size_t>(channels));
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < rows; ++row) {
        const PositionRange& range = args.ranges[static_cast<std::size_t>(row % slots)];
        const T* x = args.x.data<T>() + row / slots * seq_len * channels;
        std::fill(sums.begin(), sums.end(), Real{0});
        for (std::int64_t t = range.begin; t < range.end; ++t) {
          add_row(x + t * channels, Real{1}, sums.data(), channels);
        }
        const Real weight = weight_of<Real>(range, args.weight);
        std::transform(sums.begin(), sums.end(), sums.begin(),
                       [weight](Real sum) { return weight * sum; });
        put_row(sums.data(), args.v.data<T>() + row * channels, channels);
      }
    }
  });
}

void position_ranges(const AddToRanges& args) {
  const std::int64_t seq_len = args.y.dim(-2);
  const std::int64_t channels = args.y.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t rows = args.y.numel() / channels;
  visit_floating(args.y.dtype(), [&]<typename T>() {
    using Real = RealOf<T>;
#pragma omp parallel if (args.y.numel() > kParallelElements)
    {
      std::vector<Real> sums(static_cast<std::size_t>(channels));
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t t = row % seq_len;
        const T* v = args.v.data<T>() + row / seq_len * slots * channels;
        std::fill(sums.begin(), sums.end(), Real{0});
        if (args.x.defined()) {
          add_row(args.x.data<T>() + row * channels, Real{1}, sums.data(), channels);
        }
        for (const PositionRange& range : args.ranges) {
          if (range.begin <= t && t < range.end) {
            add_row(v, weight_of<Real>(range, args.weight), sums.data(), channels);
          }
          v += channels;
        }
        put_row(sums.data(), args.y.data<T>() + row * channels, channels);
      }
    }
  });
}

}  // namespace ghost::cpu
