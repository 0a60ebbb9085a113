#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/cpu/gather_rows.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
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
  std::vector<std::uint32_t> words((signs.size() + 31) / 32);
  args.stream.fill(kProjectionDraws, words);
  for (std::size_t i = 0; i < signs.size(); ++i) {
    signs[i] = sign<T>(words[i / 32], static_cast<std::int64_t>(i % 32));
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

/// Anchors for comparing rows with: the nearest one, a, maximises z.a - |a|^2 / 2.
template <typename T>
struct Yardstick {
  const T* anchors;  // [groups, width]
  std::int64_t groups;
  std::int64_t width;
  std::vector<T> half_squares;

  Yardstick(const T* from, std::int64_t num_groups, std::int64_t num_columns)
      : anchors(from), groups(num_groups), width(num_columns) {
    for (std::int64_t g = 0; g < groups; ++g) {
      T sum = 0;
      for (std::int64_t k = 0; k < width; ++k) {
        sum += anchors[g * width + k] * anchors[g * width + k];
      }
      half_squares.push_back(sum / 2);
    }
  }
};

// The first of the largest scores; NaN features find the first anchor: the loss will tell.
template <typename T>
std::uint16_t place_of_largest(const T* scores, std::int64_t groups) {
  const T* found = std::find(scores, scores + groups, vector_maximum(scores, groups));
  return found == scores + groups ? std::uint16_t{0} : static_cast<std::uint16_t>(found - scores);
}

// Few anchors: one group a lane, four rows at a time, all in registers.
template <typename T, std::size_t kVectors>
void assign_to_few(const Yardstick<T>& to, const T* z, std::int64_t rows, std::uint16_t* group_of) {
  using Vector = typename VectorOf<T>::Type;
  constexpr std::size_t kLanes = sizeof(Vector) / sizeof(T);
  constexpr std::int64_t kRows = 4;
  constexpr std::size_t kPadded = kVectors * kLanes;
  std::vector<T> columns(static_cast<std::size_t>(to.width) * kPadded, T{0});
  std::array<T, kPadded> start;
  start.fill(std::numeric_limits<T>::lowest());
  for (std::size_t g = 0; g < static_cast<std::size_t>(to.groups); ++g) {
    start[g] = -to.half_squares[g];
    for (std::size_t k = 0; k < static_cast<std::size_t>(to.width); ++k) {
      columns[k * kPadded + g] = to.anchors[g * static_cast<std::size_t>(to.width) + k];
    }
  }
#pragma omp parallel for schedule(static) if (rows * to.width > kParallelElements)
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    std::array<const T*, kRows> row;
    for (std::int64_t r = 0; r < kRows; ++r) {  // the last rows stand in for those that lack
      row[static_cast<std::size_t>(r)] = z + std::min(begin + r, rows - 1) * to.width;
    }
    std::array<std::array<Vector, kVectors>, kRows> scores;
    for (auto& score : scores) {
      std::memcpy(score.data(), start.data(), sizeof(start));
    }
    for (std::int64_t k = 0; k < to.width; ++k) {
      std::array<Vector, kVectors> column;
      std::memcpy(column.data(), columns.data() + static_cast<std::size_t>(k) * kPadded,
                  sizeof(column));
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < kVectors; ++v) {
          scores[r][v] += row[r][k] * column[v];
        }
      }
    }
    for (std::int64_t r = 0; r < std::min(kRows, rows - begin); ++r) {
      std::array<T, kPadded> found;
      std::memcpy(found.data(), scores[static_cast<std::size_t>(r)].data(), sizeof(found));
      group_of[begin + r] = place_of_largest(found.data(), to.groups);
    }
  }
}

template <typename T>
void assign_to_many(const Yardstick<T>& to, const T* z, std::int64_t rows,
                    std::uint16_t* group_of) {
  constexpr std::int64_t kRowsAtOnce = 512;
  std::vector<T> scores(static_cast<std::size_t>(std::min(rows, kRowsAtOnce) * to.groups));
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - begin);
    gemm({.m = count, .n = to.groups, .k = to.width}, T{1}, {z + begin * to.width, to.width},
         {to.anchors, to.width, Transpose::kYes}, T{0}, {scores.data(), to.groups});
#pragma omp parallel for schedule(static) if (count * to.groups > kParallelElements)
    for (std::int64_t i = 0; i < count; ++i) {
      T* score = scores.data() + i * to.groups;
#pragma omp simd
      for (std::int64_t g = 0; g < to.groups; ++g) {
        score[g] -= to.half_squares[static_cast<std::size_t>(g)];
      }
      group_of[begin + i] = place_of_largest(score, to.groups);
    }
  }
}

template <typename T>
void assign(const NearestGroups& args, std::uint16_t* group_of) {
  constexpr auto kLanes = static_cast<std::int64_t>(64 / sizeof(T));
  const std::int64_t rows = args.features.dim(0);
  const T* z = args.features.data<T>();
  const Yardstick<T> to(args.anchors.data<T>(), args.anchors.dim(0), args.features.dim(1));
  if (to.groups <= kLanes) {
    assign_to_few<T, 1>(to, z, rows, group_of);
  } else if (to.groups <= 2 * kLanes) {
    assign_to_few<T, 2>(to, z, rows, group_of);
  } else {
    assign_to_many(to, z, rows, group_of);
  }
}

// Each anchor moves to the mean of its rows; one without rows stays.
template <typename T>
void move_anchors(const NearestGroups& args, std::span<const std::uint16_t> group_of) {
  constexpr std::int64_t kStrip = 32;
  const std::int64_t width = args.features.dim(1);
  const auto groups = static_cast<std::size_t>(args.anchors.dim(0));
  std::vector<std::int64_t> count(groups, 0);
  for (const std::uint16_t group : group_of) {
    ++count[group];
  }
#pragma omp parallel for schedule(static) if (args.features.numel() > kParallelElements)
  for (std::int64_t begin = 0; begin < width; begin += kStrip) {
    const auto columns = static_cast<std::size_t>(std::min(kStrip, width - begin));
    std::vector<T> sums(groups * kStrip, T{0});
    const T* z = args.features.data<T>() + begin;
    for (std::size_t row = 0; row < group_of.size(); ++row, z += width) {
      T* sum = sums.data() + group_of[row] * kStrip;
#pragma omp simd
      for (std::size_t k = 0; k < columns; ++k) {
        sum[k] += z[k];
      }
    }
    for (std::size_t g = 0; g < groups; ++g) {
      T* anchor = args.anchors.data<T>() + static_cast<std::int64_t>(g) * width + begin;
      for (std::size_t k = 0; k < columns && count[g] > 0; ++k) {
        anchor[k] = sums[g * kStrip + k] / static_cast<T>(count[g]);
      }
    }
  }
}

template <typename T>
void subtract_anchors(const NearestGroups& args, const std::uint16_t* group_of) {
  const std::int64_t width = args.features.dim(1);
#pragma omp parallel for schedule(static) if (args.features.numel() > kParallelElements)
  for (std::int64_t row = 0; row < args.features.dim(0); ++row) {
    T* z = args.features.data<T>() + row * width;
    const T* anchor = args.anchors.data<T>() + group_of[row] * width;
#pragma omp simd
    for (std::int64_t k = 0; k < width; ++k) {
      z[k] -= anchor[k];
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
  const std::int64_t levels = args.group_of.dim(0);
  const std::int64_t rows = args.features.dim(0);
  // Each level has anchors of its own, while there are rows enough.
  const auto drawn = drawn_rows(args.stream, rows, std::min(rows, groups * levels), kAnchorWord);
  for (std::int64_t level = 0; level < levels; ++level) {
    const std::span<std::uint16_t> group_of =
        args.group_of.slice(level, level + 1).span<std::uint16_t>();
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto place = static_cast<std::size_t>(level * groups + g) % drawn.size();
      std::copy_n(args.features.data<T>() + drawn[place] * width, width,
                  args.anchors.data<T>() + g * width);
    }
    assign<T>(args, group_of.data());
    for (std::int64_t round = 0; round < args.kmeans_rounds; ++round) {
      move_anchors<T>(args, group_of);
      assign<T>(args, group_of.data());
    }
    if (level + 1 < levels) {
      move_anchors<T>(args, group_of);
      subtract_anchors<T>(args, group_of.data());
    }
  }
}

/// How many rows groups of different levels share: [groups, groups], the sizes on the diagonal.
std::vector<double> shared_rows(const Tensor& group_of, std::int64_t groups) {
  const std::int64_t levels = group_of.dim(0);
  const std::int64_t rows = group_of.dim(1);
  const std::int64_t per_level = groups / levels;
  const std::uint16_t* of = group_of.data<std::uint16_t>();
  std::vector<double> shared(static_cast<std::size_t>(groups * groups), 0.0);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t a = 0; a < levels; ++a) {
      const std::int64_t g = a * per_level + of[a * rows + row];
      double* of_g = shared.data() + g * groups;
      for (std::int64_t b = 0; b < levels; ++b) {
        of_g[b * per_level + of[b * rows + row]] += 1;
      }
    }
  }
  return shared;
}

// mu_g = (sum_g - sum over groups h of other levels of shared(g, h) mu_h) / rows of g, for a strip
// of columns. Returns what |x - sum of mu|^2 and |x|^2 differ by, on these columns.
template <typename T>
double descend(const GroupMeans& args, const std::vector<double>& shared, std::int64_t begin,
               std::int64_t end) {
  const std::int64_t groups = args.sums.dim(0);
  const std::int64_t columns = args.sums.dim(1);
  const std::int64_t per_level = groups / args.group_of.dim(0);
  const auto width = static_cast<std::size_t>(end - begin);
  const auto n = static_cast<std::size_t>(groups);
  std::vector<T> mu(n * width, T{0});
  std::vector<T> rest(width);
  const auto subtract_others = [&](std::int64_t g, bool only_other_levels) {
    for (std::int64_t h = 0; h < groups; ++h) {
      const auto count = static_cast<T>(shared[static_cast<std::size_t>(g * groups + h)]);
      if (count == 0 || (only_other_levels && h / per_level == g / per_level)) {
        continue;
      }
      const T* from = mu.data() + static_cast<std::size_t>(h) * width;
#pragma omp simd
      for (std::size_t c = 0; c < width; ++c) {
        rest[c] -= count * from[c];
      }
    }
  };
  for (std::int64_t sweep = 0; sweep < args.sweeps; ++sweep) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto count = static_cast<T>(shared[static_cast<std::size_t>(g * groups + g)]);
      if (count > 0) {
        const T* sum = args.sums.data<T>() + g * columns + begin;
        std::copy_n(sum, width, rest.begin());
        subtract_others(g, /*only_other_levels=*/true);
        T* to = mu.data() + static_cast<std::size_t>(g) * width;
        for (std::size_t c = 0; c < width; ++c) {
          to[c] = rest[c] / count;
        }
      }
    }
  }
  // |x - A mu|^2 = |x|^2 - sum_g mu_g (2 sum_g - (A^T A mu)_g)
  double difference = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const T* sum = args.sums.data<T>() + g * columns + begin;
    for (std::size_t c = 0; c < width; ++c) {
      rest[c] = 2 * sum[c];
    }
    subtract_others(g, /*only_other_levels=*/false);
    for (std::size_t c = 0; c < width; ++c) {
      difference -= static_cast<double>(mu[static_cast<std::size_t>(g) * width + c]) *
                    static_cast<double>(rest[c]);
    }
  }
  for (std::size_t g = 0; g < n; ++g) {
    std::copy_n(mu.begin() + static_cast<std::ptrdiff_t>(g * width), width,
                args.sums.data<T>() + static_cast<std::int64_t>(g) * columns + begin);
  }
  return difference;
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

void row_groups(const GroupMeans& args) {
  constexpr std::int64_t kStrip = 64;
  const std::int64_t columns = args.sums.dim(1);
  const std::int64_t strips = (columns + kStrip - 1) / kStrip;
  const std::vector<double> shared = shared_rows(args.group_of, args.sums.dim(0));
  std::vector<double> differences(static_cast<std::size_t>(strips));
  visit_real(args.sums.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (args.sums.numel() > kParallelElements)
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      differences[static_cast<std::size_t>(strip)] =
          descend<T>(args, shared, strip * kStrip, std::min(columns, (strip + 1) * kStrip));
    }
  });
  for (const double difference : differences) {
    *args.squared_norm += difference;
  }
  *args.squared_norm = std::max(*args.squared_norm, 0.0);
}

}  // namespace ghost::cpu
