#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/position_ranges_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
T weight_of(const PositionRange& range, RangeWeight weight) {
  return weight == RangeWeight::kMean ? 1 / static_cast<T>(range.size()) : T{1};
}

template <typename T>
void add_row(const T* x, T factor, T* y, std::int64_t channels) {
#pragma omp simd
  for (std::int64_t c = 0; c < channels; ++c) {
    y[c] += factor * x[c];
  }
}

}  // namespace

void position_ranges(const SumOverRanges& args) {
  const std::int64_t seq_len = args.x.dim(-2);
  const std::int64_t channels = args.x.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t rows = args.v.numel() / channels;
  visit_real(args.x.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
    for (std::int64_t row = 0; row < rows; ++row) {
      const PositionRange& range = args.ranges[static_cast<std::size_t>(row % slots)];
      const T* x = args.x.data<T>() + row / slots * seq_len * channels;
      T* v = args.v.data<T>() + row * channels;
      std::fill_n(v, channels, T{0});
      for (std::int64_t t = range.begin; t < range.end; ++t) {
        add_row(x + t * channels, T{1}, v, channels);
      }
      const T weight = weight_of<T>(range, args.weight);
      std::transform(v, v + channels, v, [weight](T sum) { return weight * sum; });
    }
  });
}

void position_ranges(const AddToRanges& args) {
  const std::int64_t seq_len = args.y.dim(-2);
  const std::int64_t channels = args.y.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t rows = args.y.numel() / channels;
  visit_real(args.y.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (args.y.numel() > kParallelElements)
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t t = row % seq_len;
      const T* v = args.v.data<T>() + row / seq_len * slots * channels;
      T* y = args.y.data<T>() + row * channels;
      if (args.x.defined()) {
        std::copy_n(args.x.data<T>() + row * channels, channels, y);
      } else {
        std::fill_n(y, channels, T{0});
      }
      for (const PositionRange& range : args.ranges) {
        if (range.begin <= t && t < range.end) {
          add_row(v, weight_of<T>(range, args.weight), y, channels);
        }
        v += channels;
      }
    }
  });
}

}  // namespace ghost::cpu
