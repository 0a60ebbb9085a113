#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/gather_rows_kernels.h"

namespace ghost::cpu {
namespace {

// 64 bytes: one register where the CPU has AVX-512, several elsewhere.
template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = float __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double> {
  using Type = double __attribute__((vector_size(64)));
};

template <typename T>
class Columns {  // a tile of consecutive columns, held in registers
 public:
  static constexpr std::int64_t kLanes = 64 / sizeof(T);
  static constexpr std::size_t kVectors = 4;
  static constexpr std::int64_t kWidth = kLanes * static_cast<std::int64_t>(kVectors);

  static Columns load(const T* from) {
    Columns out;
    std::memcpy(out.v_.data(), from, sizeof(out.v_));
    return out;
  }
  void store(T* to) const { std::memcpy(to, v_.data(), sizeof(v_)); }
  void add_scaled(const Columns& x, T w) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += w * x.v_[i];
    }
  }
  void add(const Columns& x) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += x.v_[i];
    }
  }
  void add_squares(const Columns& x) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += x.v_[i] * x.v_[i];
    }
  }
  double sum() const {
    double total = 0;
    for (const auto& vector : v_) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        total += static_cast<double>(vector[lane]);
      }
    }
    return total;
  }

 private:
  std::array<typename VectorOf<T>::Type, kVectors> v_ = {};
};

/// The last columns of a row, fewer than a tile; the rest counts as 0.
template <typename T>
Columns<T> load_part(const T* from, std::int64_t count) {
  std::array<T, static_cast<std::size_t>(Columns<T>::kWidth)> whole = {};
  std::copy_n(from, count, whole.begin());
  return Columns<T>::load(whole.data());
}

/// The work is cut by the sizes alone, never by the number of threads: blocks of bins with about
/// the same number of entries, strips of columns. Sums over all rows are formed per block and added
/// in the order of the blocks.
struct Cut {
  std::vector<std::int64_t> first_bin;  // of each block, and the end
  std::int64_t strip_columns = 0;
  std::int64_t num_strips = 0;

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(first_bin.size()) - 1; }
};

Cut cut_work(const RowBins& bins, std::int64_t columns, std::int64_t tile) {
  constexpr std::int64_t kMaxBlocks = 16;
  constexpr std::int64_t kTilesOfStrip = 8;
  Cut cut;
  const auto entries = static_cast<std::int64_t>(bins.rows.size());
  const std::int64_t entries_of_block = std::max<std::int64_t>(16, entries / kMaxBlocks);
  std::int64_t end_of_block = 0;
  for (std::int64_t bin = 0; bin < bins.num_bins(); ++bin) {
    if (bins.offsets[static_cast<std::size_t>(bin)] >= end_of_block) {
      cut.first_bin.push_back(bin);
      end_of_block = bins.offsets[static_cast<std::size_t>(bin)] + entries_of_block;
    }
  }
  cut.first_bin.push_back(bins.num_bins());
  cut.strip_columns = tile * kTilesOfStrip;
  cut.num_strips = (columns + cut.strip_columns - 1) / cut.strip_columns;
  return cut;
}

template <typename T>
struct Pass {
  const T* x;
  const RowBins& bins;
  T* out;
  std::int64_t columns;
  bool accumulate;
  bool wants_norm;
  bool wants_sums;
};

/// One bin, columns [begin, begin + count) with count at most a tile.
template <typename T, bool kCovers, typename Load, typename Store>
double gather_tile(const Pass<T>& pass, std::int64_t bin, std::int64_t begin, Columns<T>& sums,
                   const Load& load, const Store& store) {
  const auto r = static_cast<std::size_t>(bin);
  const bool is_output = bin < pass.bins.num_outputs;
  Columns<T> sum =
      is_output && pass.accumulate ? load(pass.out + bin * pass.columns + begin) : Columns<T>{};
  Columns<T> squares;
  for (std::int32_t i = pass.bins.offsets[r]; i < pass.bins.offsets[r + 1]; ++i) {
    const auto entry = static_cast<std::size_t>(i);
    const Columns<T> x = load(pass.x + pass.bins.rows[entry] * pass.columns + begin);
    sum.add_scaled(x, static_cast<T>(pass.bins.weights[entry]));
    if constexpr (kCovers) {
      sums.add(x);
      squares.add_squares(x);
    }
  }
  if (is_output) {
    store(sum, pass.out + bin * pass.columns + begin);
  }
  return kCovers && pass.wants_norm ? squares.sum() : 0;
}

template <typename T, typename Load, typename Store>
double gather_columns(const Pass<T>& pass, std::int64_t first_bin, std::int64_t last_bin,
                      std::int64_t begin, T* block_sums, const Load& load, const Store& store) {
  double squared_norm = 0;
  Columns<T> sums;
  for (std::int64_t bin = first_bin; bin < last_bin; ++bin) {
    const bool covers = (pass.wants_norm || pass.wants_sums) && bin >= pass.bins.cover_first &&
                        bin < pass.bins.cover_last;
    squared_norm += covers ? gather_tile<T, true>(pass, bin, begin, sums, load, store)
                           : gather_tile<T, false>(pass, bin, begin, sums, load, store);
  }
  if (block_sums != nullptr) {
    store(sums, block_sums + begin);
  }
  return squared_norm;
}

template <typename T>
void gather(const GatherRows& args) {
  constexpr std::int64_t kTile = Columns<T>::kWidth;
  const std::int64_t columns = args.x.dim(-1);
  const Pass<T> pass{.x = args.x.data<T>(),
                     .bins = *args.bins,
                     .out = args.out.defined() ? args.out.data<T>() : nullptr,
                     .columns = columns,
                     .accumulate = args.accumulate,
                     .wants_norm = args.squared_norm != nullptr,
                     .wants_sums = args.column_sums.defined()};
  const Cut cut = cut_work(*args.bins, columns, kTile);
  const std::int64_t items = cut.num_blocks() * cut.num_strips;
  std::vector<double> squared_norms(static_cast<std::size_t>(items), 0.0);
  std::vector<T> sums(pass.wants_sums ? static_cast<std::size_t>(cut.num_blocks() * columns)
                                      : std::size_t{0});
#pragma omp parallel for schedule(dynamic) if (args.x.numel() > kParallelElements)
  for (std::int64_t item = 0; item < items; ++item) {
    const std::int64_t block = item / cut.num_strips;
    const std::int64_t strip = item % cut.num_strips;
    const std::int64_t first = cut.first_bin[static_cast<std::size_t>(block)];
    const std::int64_t last = cut.first_bin[static_cast<std::size_t>(block) + 1];
    const std::int64_t end = std::min(columns, (strip + 1) * cut.strip_columns);
    T* block_sums = pass.wants_sums ? sums.data() + block * columns : nullptr;
    double squared_norm = 0;
    std::int64_t begin = strip * cut.strip_columns;
    for (; begin + kTile <= end; begin += kTile) {
      squared_norm += gather_columns<T>(
          pass, first, last, begin, block_sums,
          [](const T* from) { return Columns<T>::load(from); },
          [](const Columns<T>& tile, T* to) { tile.store(to); });
    }
    if (begin < end) {
      const std::int64_t count = end - begin;
      squared_norm += gather_columns<T>(
          pass, first, last, begin, block_sums,
          [count](const T* from) { return load_part(from, count); },
          [count](const Columns<T>& tile, T* to) {
            std::array<T, static_cast<std::size_t>(kTile)> whole;
            tile.store(whole.data());
            std::copy_n(whole.begin(), count, to);
          });
    }
    squared_norms[static_cast<std::size_t>(item)] = squared_norm;
  }
  if (pass.wants_norm) {
    for (const double part : squared_norms) {
      *args.squared_norm += part;
    }
  }
  if (pass.wants_sums) {
    T* to = args.column_sums.data<T>();
    for (std::int64_t c = 0; c < columns; ++c) {
      T sum = args.accumulate_column_sums ? to[c] : T{0};
      for (std::int64_t block = 0; block < cut.num_blocks(); ++block) {
        sum += sums[static_cast<std::size_t>(block * columns + c)];
      }
      to[c] = sum;
    }
  }
}

template <typename T>
void row_norms(const RowNorms& args) {
  const std::int64_t columns = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / columns;
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * columns;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < columns; ++c) {
      sum += x[c] * x[c];
    }
    args.out.data<T>()[row] = std::sqrt(sum);
  }
}

}  // namespace

void gather_rows(const GatherRows& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { gather<T>(args); });
}

void gather_rows(const RowNorms& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { row_norms<T>(args); });
}

}  // namespace ghost::cpu
