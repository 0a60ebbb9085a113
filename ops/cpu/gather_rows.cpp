#include "ops/cpu/gather_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/gather_rows_kernels.h"

namespace ghost::cpu {
namespace {

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
void gather(const GatherRows& args) {
  constexpr std::int64_t kTile = Columns<T>::kWidth;
  const std::int64_t columns = args.x.dim(-1);
  const GatherPass<T> pass{.x = args.x.data<T>(),
                           .x_stride = columns,
                           .bins = *args.bins,
                           .out = args.out.defined() ? args.out.data<T>() : nullptr,
                           .out_stride = columns,
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
    squared_norms[static_cast<std::size_t>(item)] =
        gather_block(pass, first, last, strip * cut.strip_columns, end, block_sums);
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

/// The bins by row: the entries of row b are bin[first[b]] to bin[first[b + 1]].
struct BinsOfRows {
  std::vector<std::int32_t> first;
  std::vector<std::int32_t> bin;
  std::vector<double> weight;

  BinsOfRows(const RowBins& bins, std::int64_t rows)
      : first(static_cast<std::size_t>(rows + 1), 0),
        bin(bins.rows.size()),
        weight(bins.rows.size()) {
    const auto outputs = static_cast<std::size_t>(bins.num_outputs);
    const auto entries = static_cast<std::size_t>(bins.offsets[outputs]);
    for (std::size_t i = 0; i < entries; ++i) {
      ++first[static_cast<std::size_t>(bins.rows[i]) + 1];
    }
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<std::int32_t> next(first.begin(), first.end() - 1);
    for (std::size_t r = 0; r < outputs; ++r) {
      for (auto i = static_cast<std::size_t>(bins.offsets[r]);
           i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
        const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(bins.rows[i])]++);
        bin[at] = static_cast<std::int32_t>(r);
        weight[at] = bins.weights[i];
      }
    }
  }
};

// Rows that lie in several bins are read once, and a tile of all bins is held in the cache instead.
template <typename T>
void scatter(const GatherRows& args) {
  constexpr std::int64_t kTile = Columns<T>::kWidth;
  const std::int64_t columns = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / columns;
  const std::int64_t outputs = args.bins->num_outputs;
  const BinsOfRows bins(*args.bins, rows);
  const std::int64_t num_tiles = (columns + kTile - 1) / kTile;
  std::vector<double> squared_norms(static_cast<std::size_t>(num_tiles), 0.0);
#pragma omp parallel for schedule(dynamic) if (args.x.numel() > kParallelElements)
  for (std::int64_t tile = 0; tile < num_tiles; ++tile) {
    const std::int64_t begin = tile * kTile;
    const std::int64_t count = std::min(kTile, columns - begin);
    std::vector<Columns<T>> held(static_cast<std::size_t>(outputs));
    for (std::int64_t r = 0; r < outputs && args.accumulate; ++r) {
      held[static_cast<std::size_t>(r)] =
          load_part(args.out.data<T>() + r * columns + begin, count);
    }
    GatherSums<T> sums;
    typename Columns<T>::Lanes squares = {};
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* from = args.x.data<T>() + row * columns + begin;
      const Columns<T> x = count == kTile ? Columns<T>::load(from) : load_part(from, count);
      const auto b = static_cast<std::size_t>(row);
      for (auto i = static_cast<std::size_t>(bins.first[b]);
           i < static_cast<std::size_t>(bins.first[b + 1]); ++i) {
        held[static_cast<std::size_t>(bins.bin[i])].add_scaled(x, static_cast<T>(bins.weight[i]));
      }
      sums.columns.add(x);
      if (args.squared_norm != nullptr) {
        Columns<T> square;
        square.add_squares(x);
        square.add_to(squares);
      }
    }
    for (std::int64_t r = 0; r < outputs; ++r) {
      store_part(held[static_cast<std::size_t>(r)], args.out.data<T>() + r * columns + begin,
                 count);
    }
    if (args.column_sums.defined()) {
      T* to = args.column_sums.data<T>() + begin;
      if (args.accumulate_column_sums) {
        sums.columns.add(load_part(to, count));
      }
      store_part(sums.columns, to, count);
    }
    for (std::int64_t lane = 0; lane < Columns<T>::kLanes; ++lane) {
      squared_norms[static_cast<std::size_t>(tile)] += squares[lane];
    }
  }
  if (args.squared_norm != nullptr) {
    *args.squared_norm =
        std::accumulate(squared_norms.begin(), squared_norms.end(), *args.squared_norm);
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
  const std::int64_t rows = args.x.numel() / args.x.dim(-1);
  const bool is_read_often = static_cast<std::int64_t>(args.bins->rows.size()) > 2 * rows;
  visit_real(args.x.dtype(),
             [&]<typename T>() { is_read_often ? scatter<T>(args) : gather<T>(args); });
}

void gather_rows(const RowNorms& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { row_norms<T>(args); });
}

}  // namespace ghost::cpu
