#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/row_bins.h"
#include "ops/row_groups_kernels.h"

// Residual vector quantisation by inner products alone. Codewords are means of samples, so all that
// a level asks about a row, and all that subtracting its codeword changes, is in the row's inner
// products with the samples: the rows themselves are read once, by one matrix product, however many
// levels there are.

namespace ghost::cpu {
namespace {

constexpr std::int64_t kLane = 64;  // columns that are worked on together

template <typename T>
T sign(std::uint32_t bits, std::int64_t bit) {
  return (bits >> bit & 1U) == 0 ? T{1} : T{-1};
}

// features[:, 0 .. K) = x signs^T, signs [K, N] drawn 128 to a counter; x itself where K = N.
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

/// What rows are compared by: x, or the features made of it. [rows, width]
template <typename T>
struct Compared {
  const T* data;
  std::int64_t rows;
  std::int64_t width;

  explicit Compared(const NearestGroups& args)
      : data(args.features.defined() ? args.features.data<T>() : args.x.data<T>()),
        rows(args.group_of.dim(1)),
        width(args.sample.dim(1)) {}
};

/// The codewords of a level, each the mean of some samples as the levels before have left them.
template <typename T>
struct Codebook {
  std::vector<std::int32_t> codeword_of;  // [samples]: the codeword a sample is part of, or -1
  std::vector<T> share;                   // [groups]: 1 / samples of a codeword
  std::vector<T> half_square;             // [groups]: |codeword|^2 / 2; infinite without samples
  std::vector<std::int32_t> nearest;      // [samples]: the codeword that a sample loses
  // [samples, groups]: what a row's product with a sample loses by the row's codeword, once the
  // sample has lost its own
  std::vector<T> loss;

  std::int64_t groups() const { return static_cast<std::int64_t>(share.size()); }
};

/// Inner products of the samples with up to kLane rows: element (sample, row) at
/// data[sample * stride + row].
template <typename T>
struct Products {
  T* data;
  std::int64_t stride;
  std::int64_t columns;
};

// with[g * stride + i] = codeword g . row i
template <typename T>
void multiply_codewords(const Codebook<T>& book, const Products<T>& products, T* with,
                        std::int64_t stride) {
  const auto columns = static_cast<std::size_t>(products.columns);
  for (std::int64_t g = 0; g < book.groups(); ++g) {
    std::fill_n(with + g * stride, columns, T{0});
  }
  const T* from = products.data;
  for (const std::int32_t g : book.codeword_of) {
    if (g >= 0) {
      T* to = with + g * stride;
#pragma omp simd
      for (std::size_t i = 0; i < columns; ++i) {
        to[i] += from[i];
      }
    }
    from += products.stride;
  }
  for (std::int64_t g = 0; g < book.groups(); ++g) {
    const T share = book.share[static_cast<std::size_t>(g)];
    T* to = with + g * stride;
#pragma omp simd
    for (std::size_t i = 0; i < columns; ++i) {
      to[i] *= share;
    }
  }
}

// The nearest codeword, w, maximises z.w - |w|^2 / 2. The first of equal ones; NaN finds codeword
// 0: the loss will tell.
template <typename T>
void find_nearest(const Codebook<T>& book, const T* with, std::int64_t stride, std::int64_t columns,
                  std::int32_t* nearest) {
  std::array<T, kLane> best;
  best.fill(std::numeric_limits<T>::lowest());
  std::fill_n(nearest, columns, 0);
  for (std::int64_t g = 0; g < book.groups(); ++g) {
    const T half_square = book.half_square[static_cast<std::size_t>(g)];
    const auto group = static_cast<std::int32_t>(g);
    const T* products = with + g * stride;
#pragma omp simd
    for (std::size_t i = 0; i < static_cast<std::size_t>(columns); ++i) {
      const T score = products[i] - half_square;
      const bool is_better = score > best[i];
      best[i] = is_better ? score : best[i];
      nearest[i] = is_better ? group : nearest[i];
    }
  }
}

// Rows and samples lose their codewords: (z - w).(s - v) = z.s - z.v - (w.s - w.v)
template <typename T>
void subtract_codewords(const Codebook<T>& book, const T* with, std::int64_t stride,
                        const std::int32_t* nearest, const Products<T>& products) {
  T* to = products.data;
  const T* loss = book.loss.data();
  for (const std::int32_t of_sample : book.nearest) {
    const T* by_sample = with + of_sample * stride;
#pragma omp simd
    for (std::size_t i = 0; i < static_cast<std::size_t>(products.columns); ++i) {
      to[i] -= by_sample[i] + loss[nearest[i]];
    }
    to += products.stride;
    loss += book.groups();
  }
}

/// Calls work(begin, columns) for pieces of at most kLane of `n` columns, each `height` elements.
template <typename Work>
void for_each_lane(std::int64_t n, std::int64_t height, const Work& work) {
#pragma omp parallel for schedule(static) if (n * height > kParallelElements)
  for (std::int64_t begin = 0; begin < n; begin += kLane) {
    work(begin, std::min(kLane, n - begin));
  }
}

/// Finds the codebooks of all levels from the samples' products with each other.
template <typename T>
class Training {
 public:
  Training(T* gram, std::int64_t samples, std::int64_t groups)
      : gram_(gram),
        samples_(samples),
        groups_(groups),
        with_(static_cast<std::size_t>(groups * samples)) {}

  /// The samples lose their codewords on the way.
  Codebook<T> next_level(std::int64_t level, std::int64_t kmeans_rounds, bool is_last) {
    Codebook<T> book;
    book.nearest.resize(static_cast<std::size_t>(samples_));
    book.codeword_of.assign(book.nearest.size(), -1);
    for (std::int64_t g = 0; g < groups_; ++g) {  // samples enough: each level has its own
      const std::int64_t sample = (level * groups_ + g) % samples_;
      book.codeword_of[static_cast<std::size_t>(sample)] = static_cast<std::int32_t>(g);
    }
    assign(book);
    for (std::int64_t round = 0; round < kmeans_rounds; ++round) {
      book.codeword_of = book.nearest;
      assign(book);
    }
    if (is_last) {
      return book;
    }
    find_losses(book);
    for_each_lane(samples_, samples_, [&](std::int64_t begin, std::int64_t columns) {
      subtract_codewords(book, with_.data() + begin, samples_, book.nearest.data() + begin,
                         Products<T>{gram_ + begin, samples_, columns});
    });
    return book;
  }

 private:
  // From the codewords' samples to every sample's nearest codeword.
  void assign(Codebook<T>& book) {
    const auto groups = static_cast<std::size_t>(groups_);
    book.share.assign(groups, T{0});
    for (const std::int32_t g : book.codeword_of) {
      if (g >= 0) {
        book.share[static_cast<std::size_t>(g)] += 1;
      }
    }
    for (T& share : book.share) {
      share = share > 0 ? 1 / share : T{0};
    }
    for_each_lane(samples_, samples_, [&](std::int64_t begin, std::int64_t columns) {
      multiply_codewords(book, Products<T>{gram_ + begin, samples_, columns}, with_.data() + begin,
                         samples_);
    });
    book.half_square.assign(groups, T{0});
    for (std::int64_t sample = 0; sample < samples_; ++sample) {
      const std::int32_t g = book.codeword_of[static_cast<std::size_t>(sample)];
      if (g >= 0) {
        book.half_square[static_cast<std::size_t>(g)] +=
            with_[static_cast<std::size_t>(g * samples_ + sample)] / 2;
      }
    }
    for (std::size_t g = 0; g < groups; ++g) {
      book.half_square[g] = book.share[g] > 0 ? book.half_square[g] * book.share[g]
                                              : std::numeric_limits<T>::infinity();
    }
    for_each_lane(samples_, groups_, [&](std::int64_t begin, std::int64_t columns) {
      find_nearest(book, with_.data() + begin, samples_, columns, book.nearest.data() + begin);
    });
  }

  void find_losses(Codebook<T>& book) const {
    const auto groups = static_cast<std::size_t>(groups_);
    const auto samples = static_cast<std::size_t>(samples_);
    std::vector<T> between(groups * groups, T{0});  // codewords with each other
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t sample = 0; sample < samples; ++sample) {
        if (const std::int32_t h = book.codeword_of[sample]; h >= 0) {
          between[g * groups + static_cast<std::size_t>(h)] += with_[g * samples + sample];
        }
      }
      for (std::size_t h = 0; h < groups; ++h) {
        between[g * groups + h] *= book.share[h];
      }
    }
    book.loss.resize(samples * groups);
    for (std::size_t sample = 0; sample < samples; ++sample) {
      const auto nearest = static_cast<std::size_t>(book.nearest[sample]);
      for (std::size_t g = 0; g < groups; ++g) {
        book.loss[sample * groups + g] =
            with_[g * samples + sample] - between[g * groups + nearest];
      }
    }
  }

  T* gram_;  // [samples, samples]
  std::int64_t samples_;
  std::int64_t groups_;
  std::vector<T> with_;  // [groups, samples]: codewords with samples
};

template <typename T>
void draw_samples(const NearestGroups& args, const Compared<T>& z) {
  const std::int64_t samples = args.sample.dim(0);
  const auto drawn = drawn_rows(args.stream, z.rows, samples, kSampleWord);
  for (std::int64_t s = 0; s < samples; ++s) {
    std::copy_n(z.data + drawn[static_cast<std::size_t>(s)] * z.width, z.width,
                args.sample.data<T>() + s * z.width);
  }
}

// One level whose codewords are the samples themselves: only their lengths matter.
template <typename T>
Codebook<T> samples_as_codewords(const NearestGroups& args) {
  const std::int64_t width = args.sample.dim(1);
  Codebook<T> book;
  for (std::int64_t g = 0; g < args.sample.dim(0); ++g) {
    const T* sample = args.sample.data<T>() + g * width;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < width; ++k) {
      sum += sample[k] * sample[k];
    }
    book.codeword_of.push_back(static_cast<std::int32_t>(g));
    book.share.push_back(1);
    book.half_square.push_back(sum / 2);
  }
  return book;
}

template <typename T>
std::vector<Codebook<T>> train(const NearestGroups& args) {
  if (!args.gram.defined()) {
    return {samples_as_codewords<T>(args)};
  }
  const std::int64_t samples = args.sample.dim(0);
  const std::int64_t width = args.sample.dim(1);
  const T* sample = args.sample.data<T>();
  gemm({.m = samples, .n = samples, .k = width}, T{1}, {sample, width},
       {sample, width, Transpose::kYes}, T{0}, {args.gram.data<T>(), samples});
  Training<T> training(args.gram.data<T>(), samples, args.groups_of_level);
  std::vector<Codebook<T>> books;
  const std::int64_t levels = args.group_of.dim(0);
  for (std::int64_t level = 0; level < levels; ++level) {
    books.push_back(training.next_level(level, args.kmeans_rounds, level + 1 == levels));
  }
  return books;
}

template <typename T>
void encode(const NearestGroups& args, const Compared<T>& z,
            const std::vector<Codebook<T>>& books) {
  const std::int64_t samples = args.sample.dim(0);
  const std::int64_t at_once = args.products.dim(1);
  for (std::int64_t first = 0; first < z.rows; first += at_once) {
    const std::int64_t count = std::min(at_once, z.rows - first);
    gemm({.m = samples, .n = count, .k = z.width}, T{1}, {args.sample.data<T>(), z.width},
         {z.data + first * z.width, z.width, Transpose::kYes}, T{0},
         {args.products.data<T>(), at_once});
    for_each_lane(count, samples, [&](std::int64_t begin, std::int64_t columns) {
      const Products<T> products{args.products.data<T>() + begin, at_once, columns};
      std::vector<T> with(static_cast<std::size_t>(books.front().groups() * kLane));
      std::array<std::int32_t, kLane> nearest;
      std::uint16_t* group_of = args.group_of.data<std::uint16_t>() + first + begin;
      for (const Codebook<T>& book : books) {
        multiply_codewords(book, products, with.data(), kLane);
        find_nearest(book, with.data(), kLane, columns, nearest.data());
        std::copy_n(nearest.begin(), columns, group_of);
        group_of += z.rows;
        if (&book != &books.back()) {
          subtract_codewords(book, with.data(), kLane, nearest.data(), products);
        }
      }
    });
  }
}

template <typename T>
void form_nearest_groups(const NearestGroups& args) {
  if (args.features.defined()) {
    project<T>(args);
  }
  if (args.labels.defined()) {
    append_codes<T>(args);
  }
  const Compared<T> z(args);
  draw_samples(args, z);
  encode(args, z, train<T>(args));
}

}  // namespace

void row_groups(const NearestGroups& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { form_nearest_groups<T>(args); });
}

}  // namespace ghost::cpu
