#pragma once

#include "engine/autograd/context.h"
#include "ops/row_bins.h"

namespace ghost {

/// A RowBins on a GPU, made and read by kernels.
struct DeviceBins {
  Tensor offsets;  // [bins + 1] i32
  Tensor rows;     // [entries] i32
  Tensor weights;  // [entries] f32
  std::int64_t cover_first = 0;
  std::int64_t cover_last = 0;
  std::int64_t num_outputs = 0;

  std::int64_t num_bins() const { return offsets.dim(0) - 1; }
  std::int64_t num_entries() const { return rows.dim(0); }
};

// Twins of the functions of ops/row_bins.h: the same rows in the same order. Bins and scratch come
// from the context's memory; nothing is read back.
namespace cuda {

DeviceBins hashed_bins(const Context& ctx, const RandomStream& stream, std::int64_t rows,
                       std::int64_t rank, HashKind hash);

/// Of all levels at once: group_of [levels, rows] u16. The cover is the first level's.
DeviceBins group_bins(const Context& ctx, const Tensor& group_of, std::int64_t groups_per_level);

/// picked [R] i32, weights [R] f32.
DeviceBins picked_bins(const Context& ctx, const Tensor& picked, const Tensor& weights,
                       std::int64_t rows);

DeviceBins joined_bins(const Context& ctx, const DeviceBins& first, const DeviceBins& second);

DeviceBins covering_bins(const Context& ctx, std::int64_t rows);

/// [count] i32.
Tensor drawn_rows(const Context& ctx, const RandomStream& stream, std::int64_t rows,
                  std::int64_t count, std::size_t word);

/// Bins that the host has made: they must outlive the copy, so this waits for it. For tests.
DeviceBins bins_on_device(const Context& ctx, const RowBins& bins);

/// Row numbers, in ascending order, and their keys: both are replaced by tensors sorted by (key,
/// number).
struct SortRows {
  Tensor keys;   // [n] f32, not negative, largest first; or [8 n] u8: 64-bit integers, least first
  Tensor order;  // [n] i32
  int end_bit;   // of integer keys: bits from here on are 0
};
/// Scratch comes from the context.
void sort_rows(const Context& ctx, SortRows& args);

}  // namespace cuda
}  // namespace ghost
