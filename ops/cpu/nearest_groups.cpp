#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/gather_rows_kernels.h"
#include "ops/row_bins.h"
#include "ops/row_groups_kernels.h"

// Rows and codewords meet in one product of matrices: of a row z, its nearest codeword w maximises
// z.w - |w|^2 / 2, and z - w has z.v - w.v with a codeword v of a later level.

namespace ghost::cpu {
namespace {

constexpr std::int64_t kLane = 64;  // rows that are worked on together

template <typename T>
T sign(std::uint32_t bits, std::int64_t bit) {
  return (bits >> bit & 1U) == 0 ? T{1} : T{-1};
}

// features[:, 0 .. K) = x signs^T, signs [K, N] drawn 128 to a counter; x itself where K = N.
template <typename T>
void project(const NearestGroupsOfBlock& args) {
  const std::int64_t channels = args.channels;
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const std::int64_t stride = args.x.dim(1);
  const T* x = args.x.data<T>() + args.first_column;
  T* features = args.features.data<T>();
  if (args.projection == channels) {
    for (std::int64_t row = 0; row < rows; ++row) {
      std::copy_n(x + row * stride, channels, features + row * width);
    }
    return;
  }
  std::vector<T> signs(static_cast<std::size_t>(args.projection * channels));
  std::vector<std::uint32_t> words((signs.size() + 31) / 32);
  args.stream.fill(kProjectionDraws, words);
  for (std::size_t i = 0; i < signs.size(); ++i) {
    signs[i] = sign<T>(words[i / 32], static_cast<std::int64_t>(i % 32));
  }
  gemm({.m = rows, .n = args.projection, .k = channels}, T{1}, {x, stride},
       {signs.data(), channels, Transpose::kYes}, T{0}, {features, width});
}

// features[:, K ..) = weight * (size of the features of x) * signs of the label
template <typename T>
void append_codes(const NearestGroupsOfBlock& args) {
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

/// Codewords of one or several levels, and what finding the nearest ones takes besides.
template <typename T>
class Codebook {
 public:
  Codebook(const T* codewords, std::int64_t levels, std::int64_t groups, std::int64_t width)
      : codewords_(codewords),
        levels_(levels),
        groups_(groups),
        width_(width),
        half_square_(static_cast<std::size_t>(size())) {
    if (levels > 1) {
      gram_.resize(half_square_.size() * half_square_.size());
      gemm({.m = size(), .n = size(), .k = width}, T{1}, {codewords, width},
           {codewords, width, Transpose::kYes}, T{0}, {gram_.data(), size()});
    }
    for (std::int64_t g = 0; g < size(); ++g) {
      const T* codeword = codewords + g * width;
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t k = 0; k < width; ++k) {
        sum += codeword[k] * codeword[k];
      }
      half_square_[static_cast<std::size_t>(g)] = sum / 2;
    }
  }

  /// Rows x [n, width] to their groups: group_of[level * n + row]. products: scratch.
  void assign(const Matrix<const T>& x, std::int64_t n, const Tensor& products,
              std::uint16_t* group_of) const {
    T* scores = products.data<T>();
    const std::int64_t at_once = products.numel() / size() / kLane * kLane;
    for (std::int64_t first = 0; first < n; first += at_once) {
      const std::int64_t count = std::min(at_once, n - first);
      gemm({.m = size(), .n = count, .k = width_}, T{1}, {codewords_, width_},
           {x.data + first * x.stride, x.stride, Transpose::kYes}, T{0}, {scores, at_once});
#pragma omp parallel for schedule(static) if (count * size() > kParallelElements)
      for (std::int64_t begin = 0; begin < count; begin += kLane) {
        assign_lane(scores + begin, at_once, std::min(kLane, count - begin),
                    group_of + first + begin, n);
      }
    }
  }

 private:
  std::int64_t size() const { return levels_ * groups_; }

  // Of `count` rows; products with codeword g are at scores[g * stride + row].
  void assign_lane(T* scores, std::int64_t stride, std::int64_t count, std::uint16_t* group_of,
                   std::int64_t level_stride) const {
    const auto lanes = static_cast<std::size_t>(count);
    std::array<std::int32_t, kLane> nearest;
    for (std::int64_t level = 0; level < levels_; ++level) {
      const std::int64_t begin = level * groups_;
      find_nearest(scores + begin * stride, stride, half_square_.data() + begin, count,
                   nearest.data());
      std::copy_n(nearest.begin(), lanes, group_of + level * level_stride);
      for (std::int64_t g = begin + groups_; g < size(); ++g) {
        const T* loss = gram_.data() + g * size() + begin;
        T* to = scores + g * stride;
#pragma omp simd
        for (std::size_t i = 0; i < lanes; ++i) {
          to[i] -= loss[nearest[i]];
        }
      }
    }
  }

  // The first of equal ones; NaN finds codeword 0: the loss will tell.
  void find_nearest(const T* scores, std::int64_t stride, const T* half_square, std::int64_t count,
                    std::int32_t* nearest) const {
    const auto lanes = static_cast<std::size_t>(count);
    std::array<T, kLane> best;
    best.fill(std::numeric_limits<T>::lowest());
    std::fill_n(nearest, lanes, 0);
    for (std::int64_t g = 0; g < groups_; ++g) {
      const auto group = static_cast<std::int32_t>(g);
      const T* products = scores + g * stride;
#pragma omp simd
      for (std::size_t i = 0; i < lanes; ++i) {
        const T score = products[i] - half_square[g];
        const bool is_better = score > best[i];
        best[i] = is_better ? score : best[i];
        nearest[i] = is_better ? group : nearest[i];
      }
    }
  }

  const T* codewords_;
  std::int64_t levels_;
  std::int64_t groups_;
  std::int64_t width_;
  std::vector<T> half_square_;
  std::vector<T> gram_;  // [size, size] of several levels
};

/// The codewords of one level after the other; the samples lose theirs on the way.
template <typename T>
class Training {
 public:
  explicit Training(const NearestGroupsOfBlock& args)
      : args_(args),
        samples_(args.sample.dim(0)),
        width_(args.sample.dim(1)),
        groups_(args.groups_of_level),
        sample_(args.sample.data<T>()),
        nearest_(static_cast<std::size_t>(samples_)) {}

  void run() {
    const std::int64_t levels = args_.group_of.dim(0);
    for (std::int64_t level = 0; level < levels; ++level) {
      const std::int64_t size = groups_ * width_;
      codewords_ = args_.codewords.data<T>() + level * size;
      std::copy_n(sample_ + level * size, size, codewords_);
      for (std::int64_t round = 0; round < args_.kmeans_rounds; ++round) {
        assign();
        move();
      }
      if (level + 1 < levels) {
        assign();
        subtract();
      }
    }
  }

 private:
  void assign() {
    const Codebook<T> book(codewords_, /*levels=*/1, groups_, width_);
    book.assign({sample_, width_}, samples_, args_.products, nearest_.data());
  }

  // A codeword that no sample is nearest to stays where it is.
  void move() {
    std::vector<T> sums(static_cast<std::size_t>(groups_ * width_), T{0});
    std::vector<std::int64_t> count(static_cast<std::size_t>(groups_), 0);
    for (std::int64_t sample = 0; sample < samples_; ++sample) {
      const std::uint16_t g = nearest_[static_cast<std::size_t>(sample)];
      const T* from = sample_ + sample * width_;
      T* to = sums.data() + g * width_;
      ++count[g];
#pragma omp simd
      for (std::int64_t k = 0; k < width_; ++k) {
        to[k] += from[k];
      }
    }
    for (std::int64_t g = 0; g < groups_; ++g) {
      const std::int64_t n = count[static_cast<std::size_t>(g)];
      for (std::int64_t k = 0; k < width_ && n > 0; ++k) {
        codewords_[g * width_ + k] =
            sums[static_cast<std::size_t>(g * width_ + k)] / static_cast<T>(n);
      }
    }
  }

  void subtract() {
    for (std::int64_t sample = 0; sample < samples_; ++sample) {
      const T* codeword = codewords_ + nearest_[static_cast<std::size_t>(sample)] * width_;
      T* to = sample_ + sample * width_;
#pragma omp simd
      for (std::int64_t k = 0; k < width_; ++k) {
        to[k] -= codeword[k];
      }
    }
  }

  const NearestGroupsOfBlock& args_;
  std::int64_t samples_;
  std::int64_t width_;
  std::int64_t groups_;  // of a level
  T* sample_;
  T* codewords_ = nullptr;              // of the level
  std::vector<std::uint16_t> nearest_;  // [samples]
};

template <typename T>
void form_groups_of_block(const NearestGroupsOfBlock& args) {
  const std::int64_t rows = args.group_of.dim(1);
  const std::int64_t width = args.sample.dim(1);
  if (args.features.defined()) {
    project<T>(args);
  }
  if (args.labels.defined()) {
    append_codes<T>(args);
  }
  const Tensor& compared = args.compared();
  const Matrix<const T> x{compared.data<T>() + args.compared_column(), compared.dim(1)};
  for (std::int64_t s = 0; s < args.sample.dim(0); ++s) {
    std::copy_n(x.data + args.drawn.data<std::int32_t>()[s] * x.stride, width,
                args.sample.data<T>() + s * width);
  }
  Training<T>(args).run();
  const auto assign_rows = [&] {
    const Codebook<T> book(args.codewords.data<T>(), args.group_of.dim(0), args.groups_of_level,
                           width);
    book.assign(x, rows, args.products, args.group_of.data<std::uint16_t>());
  };
  assign_rows();
  for (std::int64_t refit = 0; refit < args.refits; ++refit) {
    const RowBins bins = group_bins(args.group_of, args.groups_of_level);
    gather_rows(GatherRows{.x = compared,
                           .first_column = args.compared_column(),
                           .bins = &bins,
                           .out = args.codewords});
    row_groups(GroupMeans{.sums = args.codewords, .group_of = args.group_of, .sweeps = 1});
    assign_rows();
  }
}

}  // namespace

void row_groups(const NearestGroups& args) {
  for_each_block(args.group_of.dim(0), [&](std::int64_t block) {
    const NearestGroupsOfBlock one(args, block);
    visit_real(one.x.dtype(), [&]<typename T>() { form_groups_of_block<T>(one); });
  });
}

}  // namespace ghost::cpu
