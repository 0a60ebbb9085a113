#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/autograd/sketch_config.h"
#include "engine/random/philox.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// A sparse matrix S [bins, rows] by its rows: which rows of a matrix are added, with which weight,
/// into which row of its sketch. Entries of a bin lie together, so a sketch is gathered without
/// atomics and in a fixed order.
struct RowBins {
  std::vector<std::int32_t> offsets = {
      0};  // [bins + 1]: entries of bin r are offsets[r] to [r + 1]
  std::vector<std::int32_t> rows;
  std::vector<double> weights;
  /// Bins [first, last) that hold every row once: sums over all rows are taken on the way there.
  std::int64_t cover_first = 0;
  std::int64_t cover_last = 0;
  /// Bins from here on are not part of the sketch; they complete the cover.
  std::int64_t num_outputs = 0;

  std::int64_t num_bins() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  void add(std::int64_t row, double weight) {
    rows.push_back(static_cast<std::int32_t>(row));
    weights.push_back(weight);
  }
  void close_bin() { offsets.push_back(static_cast<std::int32_t>(rows.size())); }
};

/// S of a hash h and signs s: bin h[b] holds s[b] * row b.
RowBins bins_of_hash(std::span<const std::int32_t> hash, std::span<const std::int8_t> signs,
                     std::int64_t rank);

/// The count sketch of `rows` rows that a stream stands for. Word 0 of row b is its sort key, bit 0
/// of word 1 its sign (1 is -).
///   balanced     h_b = (position of b among all rows by (key, b)) mod rank
///   windowed     h_b = position of b by (key, b) among rows q rank .. q rank + rank - 1
///   independent  h_b = floor(key * rank / 2^32)
RowBins hashed_bins(const RandomStream& stream, std::int64_t rows, std::int64_t rank,
                    HashKind hash);

/// One bin a group, each row with weight 1: of group_of [levels, rows] u16, level after level. The
/// cover is the first level's.
RowBins group_bins(const Tensor& group_of, std::int64_t groups_per_level);

/// One row a bin.
RowBins picked_bins(std::span<const std::int32_t> picked, std::span<const double> weights,
                    std::int64_t rows);

/// `second`'s bins behind `first`'s; the cover is first's.
RowBins joined_bins(RowBins first, const RowBins& second);

/// No output: all rows, for sums over them.
RowBins covering_bins(std::int64_t rows);

/// The entries whose rows lie in [begin, end), counted from begin.
RowBins bins_of_rows(const RowBins& bins, std::int64_t begin, std::int64_t end);

/// `count` of `rows` row numbers without replacement, in random order: the first of all rows sorted
/// by word `word` of the stream.
std::vector<std::int32_t> drawn_rows(const RandomStream& stream, std::int64_t rows,
                                     std::int64_t count, std::size_t word);

}  // namespace ghost
