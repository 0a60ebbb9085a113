#include "ops/row_bins.h"

#include <algorithm>
#include <numeric>

#include "engine/core/error.h"

namespace ghost {
namespace {

using Key = std::uint64_t;  // word of the row, then the row: a total order

Key key_of(std::uint32_t word, std::int64_t row) {
  return Key{word} << 32 | static_cast<std::uint32_t>(row);
}
std::int64_t row_of(Key key) { return static_cast<std::int64_t>(key & 0xffffffffU); }

/// The four words of each row, one row after the other.
std::vector<std::uint32_t> words_of_rows(const RandomStream& stream, std::int64_t rows) {
  std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * rows));
  stream.fill(/*first=*/0, words);
  return words;
}

double sign_of(std::uint32_t word) { return (word & 1) == 0 ? 1.0 : -1.0; }

/// Bin r gathers order[r], order[r + rank], ... of rows that are dealt round.
RowBins dealt(std::span<const Key> order, std::span<const double> signs, std::int64_t rank) {
  RowBins bins;
  bins.rows.reserve(order.size());
  bins.weights.reserve(order.size());
  const auto rows = static_cast<std::int64_t>(order.size());
  for (std::int64_t r = 0; r < rank; ++r) {
    for (std::int64_t k = r; k < rows; k += rank) {
      const std::int64_t row = row_of(order[static_cast<std::size_t>(k)]);
      bins.add(row, signs[static_cast<std::size_t>(row)]);
    }
    bins.close_bin();
  }
  return bins;
}

RowBins by_bin(std::span<const std::int32_t> bin_of, std::int64_t num_bins,
               const auto& weight_of_row) {
  RowBins bins;
  std::vector<std::int32_t> count(static_cast<std::size_t>(num_bins), 0);
  for (const std::int32_t bin : bin_of) {
    ++count[static_cast<std::size_t>(bin)];
  }
  bins.offsets.resize(static_cast<std::size_t>(num_bins) + 1);
  std::partial_sum(count.begin(), count.end(), bins.offsets.begin() + 1);
  std::vector<std::int32_t> next(bins.offsets.begin(), bins.offsets.end() - 1);
  bins.rows.resize(bin_of.size());
  bins.weights.resize(bin_of.size());
  for (std::size_t row = 0; row < bin_of.size(); ++row) {
    const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(bin_of[row])]++);
    bins.rows[place] = static_cast<std::int32_t>(row);
    bins.weights[place] = weight_of_row(row);
  }
  return bins;
}

RowBins covering_itself(RowBins bins) {
  bins.num_outputs = bins.num_bins();
  bins.cover_last = bins.num_bins();
  return bins;
}

}  // namespace

RowBins bins_of_hash(std::span<const std::int32_t> hash, std::span<const std::int8_t> signs,
                     std::int64_t rank) {
  return covering_itself(
      by_bin(hash, rank, [&](std::size_t row) { return static_cast<double>(signs[row]); }));
}

RowBins hashed_bins(const RandomStream& stream, std::int64_t rows, std::int64_t rank,
                    HashKind hash) {
  std::vector<Key> order(static_cast<std::size_t>(rows));
  std::vector<double> signs(static_cast<std::size_t>(rows));
  const std::vector<std::uint32_t> words = words_of_rows(stream, rows);
  for (std::size_t b = 0; b < order.size(); ++b) {
    order[b] = key_of(words[4 * b], static_cast<std::int64_t>(b));
    signs[b] = sign_of(words[4 * b + 1]);
  }
  if (hash == HashKind::kIndependent) {
    std::vector<std::int32_t> bin_of(order.size());
    for (std::size_t b = 0; b < order.size(); ++b) {
      bin_of[b] = static_cast<std::int32_t>((order[b] >> 32) * static_cast<Key>(rank) >> 32);
    }
    return covering_itself(by_bin(bin_of, rank, [&](std::size_t row) { return signs[row]; }));
  }
  // A window is R rows; with one window over all rows the order is a permutation of them.
  const std::int64_t window = hash == HashKind::kWindowed ? rank : rows;
  for (std::int64_t begin = 0; begin < rows; begin += window) {
    std::sort(order.begin() + begin, order.begin() + std::min(rows, begin + window));
  }
  return covering_itself(dealt(order, signs, rank));
}

RowBins group_bins(const Tensor& group_of, std::int64_t groups_per_level) {
  RowBins bins;
  for (std::int64_t level = 0; level < group_of.dim(0); ++level) {
    const auto of = group_of.slice(level, level + 1).span<std::uint16_t>();
    const std::vector<std::int32_t> bin_of(of.begin(), of.end());
    RowBins one =
        covering_itself(by_bin(bin_of, groups_per_level, [](std::size_t /*row*/) { return 1.0; }));
    bins = level == 0 ? std::move(one) : joined_bins(std::move(bins), one);
  }
  return bins;
}

RowBins picked_bins(std::span<const std::int32_t> picked, std::span<const double> weights,
                    std::int64_t rows) {
  RowBins bins;
  for (std::size_t r = 0; r < picked.size(); ++r) {
    bins.add(picked[r], weights[r]);
    bins.close_bin();
  }
  // Rows may be picked twice and most are not picked at all: the cover is apart.
  RowBins joined = joined_bins(std::move(bins), covering_bins(rows));
  joined.num_outputs = static_cast<std::int64_t>(picked.size());
  joined.cover_first = joined.num_outputs;
  joined.cover_last = joined.num_bins();
  return joined;
}

RowBins joined_bins(RowBins first, const RowBins& second) {
  const std::int32_t shift = first.offsets.back();
  for (std::size_t r = 1; r < second.offsets.size(); ++r) {
    first.offsets.push_back(shift + second.offsets[r]);
  }
  first.rows.insert(first.rows.end(), second.rows.begin(), second.rows.end());
  first.weights.insert(first.weights.end(), second.weights.begin(), second.weights.end());
  first.num_outputs += second.num_outputs;
  return first;
}

RowBins covering_bins(std::int64_t rows) {
  constexpr std::int64_t kRowsOfBin = 64;
  RowBins bins;
  for (std::int64_t row = 0; row < rows; ++row) {
    bins.add(row, 1);
    if ((row + 1) % kRowsOfBin == 0 || row + 1 == rows) {
      bins.close_bin();
    }
  }
  bins.cover_last = bins.num_bins();
  return bins;
}

RowBins bins_of_rows(const RowBins& bins, std::int64_t begin, std::int64_t end) {
  RowBins out;
  out.cover_first = bins.cover_first;
  out.cover_last = bins.cover_last;
  out.num_outputs = bins.num_outputs;
  for (std::int64_t bin = 0; bin < bins.num_bins(); ++bin) {
    const auto r = static_cast<std::size_t>(bin);
    for (auto i = static_cast<std::size_t>(bins.offsets[r]);
         i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
      if (bins.rows[i] >= begin && bins.rows[i] < end) {
        out.add(bins.rows[i] - begin, bins.weights[i]);
      }
    }
    out.close_bin();
  }
  return out;
}

std::vector<std::int32_t> drawn_rows(const RandomStream& stream, std::int64_t rows,
                                     std::int64_t count, std::size_t word) {
  std::vector<Key> order(static_cast<std::size_t>(rows));
  const std::vector<std::uint32_t> words = words_of_rows(stream, rows);
  for (std::size_t b = 0; b < order.size(); ++b) {
    order[b] = key_of(words[4 * b + word], static_cast<std::int64_t>(b));
  }
  std::partial_sort(order.begin(), order.begin() + count, order.end());
  std::vector<std::int32_t> drawn;
  for (std::int64_t r = 0; r < count; ++r) {
    drawn.push_back(static_cast<std::int32_t>(row_of(order[static_cast<std::size_t>(r)])));
  }
  return drawn;
}

}  // namespace ghost
