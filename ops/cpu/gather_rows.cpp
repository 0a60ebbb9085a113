#include "ops/cpu/gather_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/gather_rows_kernels.h"

namespace ghost::cpu {
namespace {

std::int64_t columns_of(const GatherRows& args) {
  return args.out.defined() ? args.out.dim(1) : args.x.dim(-1);
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
void gather(const GatherRows& args) {
  using Real = RealOf<T>;
  constexpr std::int64_t kTile = Columns<Real>::kWidth;
  const std::int64_t columns = columns_of(args);
  const GatherPass<T> pass{.x = args.x.data<T>() + args.first_column,
                           .x_stride = args.x.dim(-1),
                           .bins = *args.bins,
                           .out = args.out.defined() ? args.out.data<Real>() : nullptr,
                           .out_stride = columns,
                           .accumulate = args.accumulate,
                           .wants_norm = args.squared_norm != nullptr,
                           .wants_sums = args.column_sums.defined()};
  const Cut cut = cut_work(*args.bins, columns, kTile);
  const std::int64_t items = cut.num_blocks() * cut.num_strips;
  std::vector<double> squared_norms(static_cast<std::size_t>(items), 0.0);
  std::vector<Real> sums(pass.wants_sums ? static_cast<std::size_t>(cut.num_blocks() * columns)
                                         : std::size_t{0});
#pragma omp parallel for schedule(dynamic) if (args.x.numel() > kParallelElements)
  for (std::int64_t item = 0; item < items; ++item) {
    const std::int64_t block = item / cut.num_strips;
    const std::int64_t strip = item % cut.num_strips;
    const std::int64_t first = cut.first_bin[static_cast<std::size_t>(block)];
    const std::int64_t last = cut.first_bin[static_cast<std::size_t>(block) + 1];
    const std::int64_t end = std::min(columns, (strip + 1) * cut.strip_columns);
    Real* block_sums = pass.wants_sums ? sums.data() + block * columns : nullptr;
    squared_norms[static_cast<std::size_t>(item)] =
        gather_block(pass, first, last, strip * cut.strip_columns, end, block_sums);
  }
  if (pass.wants_norm) {
    for (const double part : squared_norms) {
      *args.squared_norm += part;
    }
  }
  if (pass.wants_sums) {
    Real* to = args.column_sums.data<Real>();
    for (std::int64_t c = 0; c < columns; ++c) {
      Real sum = args.accumulate_column_sums ? to[c] : Real{0};
      for (std::int64_t block = 0; block < cut.num_blocks(); ++block) {
        sum += sums[static_cast<std::size_t>(block * columns + c)];
      }
      to[c] = sum;
    }
  }
}

/// A tile of columns of all rows, packed, and what they add up to.
template <typename T>
struct PackedTile {
  using Tile = Columns<RealOf<T>>;

  std::vector<Tile> rows;
  Tile sum;
  typename Tile::Lanes squares;

  explicit PackedTile(const GatherRows& args)
      : rows(static_cast<std::size_t>(args.x.numel() / args.x.dim(-1))) {}

  void load(const GatherRows& args, std::int64_t begin, std::int64_t count) {
    constexpr std::size_t kRowsAhead = 8;
    const std::int64_t stride = args.x.dim(-1);
    const T* from = args.x.data<T>() + args.first_column + begin;
    sum = {};
    squares = typename Tile::Lanes{};
    for (std::size_t row = 0; row < rows.size(); ++row, from += stride) {
      if (row + kRowsAhead < rows.size()) {  // rows lie pages apart: no prefetcher follows
        for (std::int64_t line = 0; line < count; line += Tile::kLanes) {
          __builtin_prefetch(from + static_cast<std::int64_t>(kRowsAhead) * stride + line);
        }
      }
      rows[row] = count == Tile::kWidth ? Tile::load(from) : Tile::load_part(from, count);
      sum.add(rows[row]);
      Tile square;
      square.add_squares(rows[row]);
      square.add_to(squares);
    }
  }
};

// For rows that lie in several bins: a tile of columns is read once, and again from the cache.
template <typename T>
void gather_packed(const GatherRows& args) {
  using Real = RealOf<T>;
  using Tile = Columns<Real>;
  constexpr std::int64_t kTile = Tile::kWidth;
  const RowBins& bins = *args.bins;
  const std::vector<Real> weights(bins.weights.begin(), bins.weights.end());
  const std::int64_t columns = columns_of(args);
  const std::int64_t num_tiles = (columns + kTile - 1) / kTile;
  std::vector<double> squared_norms(static_cast<std::size_t>(num_tiles), 0.0);
  const auto gather_one = [&](PackedTile<T>& packed, std::int64_t tile) {
    const std::int64_t begin = tile * kTile;
    const std::int64_t count = std::min(kTile, columns - begin);
    packed.load(args, begin, count);
    for (std::int64_t bin = 0; bin < bins.num_outputs; ++bin) {
      Real* to = args.out.data<Real>() + bin * columns + begin;
      Tile sum = args.accumulate ? Tile::load_part(to, count) : Tile{};
      const auto r = static_cast<std::size_t>(bin);
      for (auto i = static_cast<std::size_t>(bins.offsets[r]);
           i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
        sum.add_scaled(packed.rows[static_cast<std::size_t>(bins.rows[i])], weights[i]);
      }
      store_part(sum, to, count);
    }
    if (args.column_sums.defined()) {
      Real* to = args.column_sums.data<Real>() + begin;
      if (args.accumulate_column_sums) {
        packed.sum.add(Tile::load_part(to, count));
      }
      store_part(packed.sum, to, count);
    }
    for (std::int64_t lane = 0; lane < Tile::kLanes; ++lane) {
      squared_norms[static_cast<std::size_t>(tile)] += packed.squares[lane];
    }
  };
#pragma omp parallel if (args.x.numel() > kParallelElements)
  {
    PackedTile<T> packed(args);
#pragma omp for schedule(dynamic)
    for (std::int64_t tile = 0; tile < num_tiles; ++tile) {
      gather_one(packed, tile);
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
    RealOf<T> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < columns; ++c) {
      sum += widen(x[c]) * widen(x[c]);
    }
    args.out.data<RealOf<T>>()[row] = std::sqrt(sum);
  }
}

}  // namespace

void gather_rows(const GatherRows& args) {
  const std::int64_t rows = args.x.numel() / args.x.dim(-1);
  const bool is_read_often =
      args.out.defined() && static_cast<std::int64_t>(args.bins->rows.size()) > 2 * rows;
  visit_floating(args.x.dtype(),
                 [&]<typename T>() { is_read_often ? gather_packed<T>(args) : gather<T>(args); });
}

void gather_rows(const RowNorms& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { row_norms<T>(args); });
}

}  // namespace ghost::cpu
