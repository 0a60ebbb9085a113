#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/row_bins.h"
#include "ops/row_groups_kernels.h"

namespace ghost::cpu {
namespace {

constexpr std::uint32_t kProjectionDraws = 0x80000000U;  // indices apart from those of the rows
constexpr std::uint32_t kCodeDraws = 0xC0000000U;
constexpr std::size_t kAnchorWord = 2;  // words 0 and 1 of a row are its sort key and sign

template <typename T>
T sign(std::uint32_t bits, std::int64_t bit) {
  return (bits >> bit & 1U) == 0 ? T{1} : T{-1};
}

// features[:, 0 .. K) = x signs^T, signs [K, N] drawn 128 to a counter.
template <typename T>
void project(const NearestGroups& args) {
  const std::int64_t channels = args.x.dim(-1);
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  T* features = args.features.data<T>();
  if (args.projection == channels) {
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
    for (std::int64_t row = 0; row < rows; ++row) {
      std::copy_n(args.x.data<T>() + row * channels, channels, features + row * width);
    }
    return;
  }
  std::vector<T> signs(static_cast<std::size_t>(args.projection * channels));
  Philox::Words words{};
  for (std::size_t i = 0; i < signs.size(); ++i) {
    if (i % 128 == 0) {
      words = args.stream.words(kProjectionDraws + static_cast<std::uint32_t>(i / 128));
    }
    signs[i] = sign<T>(words[i / 32 % 4], static_cast<std::int64_t>(i % 32));
  }
  gemm({.m = rows, .n = args.projection, .k = channels}, T{1}, {args.x.data<T>(), channels},
       {signs.data(), channels, Transpose::kYes}, T{0}, {features, width});
}

// features[:, K ..) = weight * (size of the features of x) * signs of the label
template <typename T>
void append_codes(const NearestGroups& args) {
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const std::int64_t code = width - args.projection;
  T* features = args.features.data<T>();
  double sum = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t k = 0; k < args.projection; ++k) {
      const auto value = static_cast<double>(features[row * width + k]);
      sum += value * value;
    }
  }
  const double mean_square = sum / static_cast<double>(rows * code);
  const T size = static_cast<T>(args.label_weight * std::sqrt(mean_square));
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto label = static_cast<std::uint32_t>(args.labels.data<std::int32_t>()[row]);
    const Philox::Words words = args.stream.words(kCodeDraws + (label & 0x0fffffffU));
    for (std::int64_t k = 0; k < code; ++k) {
      features[row * width + args.projection + k] = size * sign<T>(words[0], k);
    }
  }
}

// The nearest anchor a maximises z.a - |a|^2 / 2; of equal ones the first.
template <typename T>
void assign(const NearestGroups& args) {
  constexpr std::int64_t kRowsAtOnce = 512;
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const std::int64_t groups = args.anchors.dim(0);
  const T* anchors = args.anchors.data<T>();
  std::vector<T> half_squares(static_cast<std::size_t>(groups));
  for (std::int64_t g = 0; g < groups; ++g) {
    T sum = 0;
    for (std::int64_t k = 0; k < width; ++k) {
      sum += anchors[g * width + k] * anchors[g * width + k];
    }
    half_squares[static_cast<std::size_t>(g)] = sum / 2;
  }
  std::vector<T> scores(static_cast<std::size_t>(std::min(rows, kRowsAtOnce) * groups));
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - begin);
    gemm({.m = count, .n = groups, .k = width}, T{1},
         {args.features.data<T>() + begin * width, width}, {anchors, width, Transpose::kYes}, T{0},
         {scores.data(), groups});
#pragma omp parallel for schedule(static) if (count * groups > kParallelElements)
    for (std::int64_t i = 0; i < count; ++i) {
      T* score = scores.data() + i * groups;
      T best = score[0] - half_squares[0];
#pragma omp simd reduction(max : best)
      for (std::int64_t g = 0; g < groups; ++g) {
        score[g] -= half_squares[static_cast<std::size_t>(g)];
        best = std::max(best, score[g]);
      }
      const T* found = std::find(score, score + groups, best);
      // NaN features find nothing; the step will be diagnosed by its loss.
      args.group_of.data<std::uint16_t>()[begin + i] =
          found == score + groups ? std::uint16_t{0} : static_cast<std::uint16_t>(found - score);
    }
  }
}

// Each anchor moves to the mean of its rows; one without rows stays.
template <typename T>
void move_anchors(const NearestGroups& args) {
  const std::int64_t width = args.features.dim(1);
  const std::int64_t groups = args.anchors.dim(0);
  const RowBins bins = group_bins(args.group_of.span<std::uint16_t>(), groups, /*is_mean=*/true);
#pragma omp parallel for schedule(static) if (args.features.numel() > kParallelElements)
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto r = static_cast<std::size_t>(g);
    if (bins.offsets[r] == bins.offsets[r + 1]) {
      continue;
    }
    T* anchor = args.anchors.data<T>() + g * width;
    std::fill_n(anchor, width, T{0});
    for (auto i = static_cast<std::size_t>(bins.offsets[r]);
         i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
      const T* z = args.features.data<T>() + bins.rows[i] * width;
      for (std::int64_t k = 0; k < width; ++k) {
        anchor[k] += static_cast<T>(bins.weights[i]) * z[k];
      }
    }
  }
}

template <typename T>
void nearest(const NearestGroups& args) {
  project<T>(args);
  if (args.labels.defined()) {
    append_codes<T>(args);
  }
  const std::int64_t width = args.features.dim(1);
  const std::int64_t groups = args.anchors.dim(0);
  const auto drawn = drawn_rows(args.stream, args.features.dim(0), groups, kAnchorWord);
  for (std::int64_t g = 0; g < groups; ++g) {
    std::copy_n(args.features.data<T>() + drawn[static_cast<std::size_t>(g)] * width, width,
                args.anchors.data<T>() + g * width);
  }
  assign<T>(args);
  for (std::int64_t round = 0; round < args.kmeans_rounds; ++round) {
    move_anchors<T>(args);
    assign<T>(args);
  }
}

}  // namespace

void row_groups(const LabelGroups& args) {
  constexpr std::uint32_t kMultiplier = 2654435769U;  // 2^32 / golden ratio: Fibonacci hashing
  const std::int32_t* labels = args.labels.data<std::int32_t>();
  const auto groups = static_cast<std::uint32_t>(args.num_groups);
  const std::int64_t rows = args.labels.numel();
  const bool are_small = std::all_of(labels, labels + rows, [&](std::int32_t label) {
    return label >= 0 && label < args.num_groups;
  });
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto label = static_cast<std::uint32_t>(labels[row]);
    args.group_of.data<std::uint16_t>()[row] = static_cast<std::uint16_t>(
        are_small ? label : std::uint64_t{label * kMultiplier} * groups >> 32);
  }
}

void row_groups(const NearestGroups& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { nearest<T>(args); });
}

}  // namespace ghost::cpu
