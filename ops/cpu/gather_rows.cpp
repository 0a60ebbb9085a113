#include "ops/cpu/gather_rows.h"

#include <cmath>
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
