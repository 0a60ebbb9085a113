#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <limits>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/random/cuda/philox.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/row_bins_kernels.h"

namespace ghost::cuda {
namespace {

using Key = unsigned long long;

/// What rows are sorted by: a word of their draw, after their window or, as a bin, instead of it.
struct DrawnKeys {
  PhiloxStream stream;
  std::int64_t rows;
  std::int64_t window;
  std::uint32_t num_bins = 0;  // 0: the word itself
  int word = 0;
};

__global__ void __launch_bounds__(kThreads)
    draw_keys(DrawnKeys draw, Key* __restrict__ keys, std::int32_t* __restrict__ order) {
  for (std::int64_t row = first_index(); row < draw.rows; row += index_stride()) {
    const uint4 words = philox_words(draw.stream, static_cast<std::uint32_t>(row));
    const std::uint32_t word = draw.word == 0   ? words.x
                               : draw.word == 1 ? words.y
                               : draw.word == 2 ? words.z
                                                : words.w;
    const Key window = static_cast<Key>(row / draw.window);
    keys[row] = draw.num_bins > 0 ? Key{word} * draw.num_bins >> 32 : window << 32 | word;
    order[row] = static_cast<std::int32_t>(row);
  }
}

__device__ __forceinline__ float sign_of_row(const PhiloxStream& stream, std::int32_t row) {
  return (philox_words(stream, static_cast<std::uint32_t>(row)).y & 1U) == 0 ? 1.0F : -1.0F;
}

// Sorted rows are dealt round: bin r takes places r, r + rank, ... With rows = q rank + t, the
// first t bins have q + 1 rows.
__global__ void __launch_bounds__(kThreads)
    deal_rows(PhiloxStream stream, const std::int32_t* __restrict__ order, std::int64_t rows,
              std::int64_t rank, std::int32_t* __restrict__ offsets,
              std::int32_t* __restrict__ dealt, float* __restrict__ weights) {
  const std::int64_t q = rows / rank;
  const std::int64_t t = rows % rank;
  const auto offset = [=](std::int64_t bin) { return bin * q + (bin < t ? bin : t); };
  for (std::int64_t k = first_index(); k < rows; k += index_stride()) {
    const std::int32_t row = order[k];
    const std::int64_t place = offset(k % rank) + k / rank;
    dealt[place] = row;
    weights[place] = sign_of_row(stream, row);
  }
  for (std::int64_t bin = first_index(); bin <= rank; bin += index_stride()) {
    offsets[bin] = static_cast<std::int32_t>(offset(bin));
  }
}

// Where each bin begins among entries that are sorted by bin.
__global__ void __launch_bounds__(kThreads)
    find_offsets(const Key* __restrict__ sorted, std::int64_t entries, std::int64_t num_bins,
                 std::int32_t* __restrict__ offsets) {
  for (std::int64_t bin = first_index(); bin <= num_bins; bin += index_stride()) {
    std::int64_t low = 0;
    std::int64_t high = entries;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (sorted[middle] < static_cast<Key>(bin)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    offsets[bin] = static_cast<std::int32_t>(low);
  }
}

__global__ void __launch_bounds__(kThreads)
    draw_signs(PhiloxStream stream, const std::int32_t* __restrict__ rows, std::int64_t entries,
               float* __restrict__ weights) {
  for (std::int64_t i = first_index(); i < entries; i += index_stride()) {
    weights[i] = sign_of_row(stream, rows[i]);
  }
}

// Entry (level, row) lies in bin level * groups + its group.
__global__ void __launch_bounds__(kThreads)
    key_by_group(const std::uint16_t* __restrict__ group_of, std::int64_t entries,
                 std::int64_t rows, std::int64_t groups, Key* __restrict__ keys,
                 std::int32_t* __restrict__ order, float* __restrict__ weights) {
  for (std::int64_t i = first_index(); i < entries; i += index_stride()) {
    keys[i] = static_cast<Key>(i / rows * groups + group_of[i]);
    order[i] = static_cast<std::int32_t>(i % rows);
    weights[i] = 1.0F;
  }
}

// Bins of `rows_of_bin` consecutive rows each, with weight 1.
__global__ void __launch_bounds__(kThreads)
    cover_rows(std::int64_t rows, std::int64_t rows_of_bin, std::int64_t num_bins,
               std::int32_t* __restrict__ offsets, std::int32_t* __restrict__ covered,
               float* __restrict__ weights) {
  for (std::int64_t row = first_index(); row < rows; row += index_stride()) {
    covered[row] = static_cast<std::int32_t>(row);
    weights[row] = 1.0F;
  }
  for (std::int64_t bin = first_index(); bin <= num_bins; bin += index_stride()) {
    const std::int64_t begin = bin * rows_of_bin;
    offsets[bin] = static_cast<std::int32_t>(begin < rows ? begin : rows);
  }
}

__global__ void __launch_bounds__(kThreads)
    copy_plus(const std::int32_t* __restrict__ from, std::int64_t n, std::int32_t shift,
              std::int32_t* __restrict__ to) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    to[i] = from == nullptr ? static_cast<std::int32_t>(i) : from[i] + shift;
  }
}

int blocks_for(const Context& ctx, std::int64_t n) { return num_blocks(ctx.device(), n, kThreads); }

void copy_elements(const Tensor& to, const Tensor& from) {
  check(cudaMemcpyAsync(to.raw(), from.raw(), static_cast<std::size_t>(from.bytes()),
                        cudaMemcpyDeviceToDevice, stream_of(to)),
        "cudaMemcpyAsync");
}

DeviceBins empty_bins(const Context& ctx, std::int64_t num_bins, std::int64_t entries) {
  GHOST_CHECK(entries <= std::numeric_limits<std::int32_t>::max(),
              "bins of {} rows; expected less than 2^31", entries);
  return {.offsets = ctx.empty({num_bins + 1}, DType::kI32),
          .rows = ctx.empty({entries}, DType::kI32),
          .weights = ctx.empty({entries}, DType::kF32)};
}

DeviceBins covering_itself(DeviceBins bins) {
  bins.num_outputs = bins.num_bins();
  bins.cover_last = bins.num_bins();
  return bins;
}

int bits_below(std::int64_t n) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(n > 0 ? n - 1 : 0)));
}

SortRows drawn_order(const Context& ctx, const DrawnKeys& draw, int end_bit) {
  SortRows sorted{.keys = ctx.empty({8 * draw.rows}, DType::kU8),
                  .order = ctx.empty({draw.rows}, DType::kI32),
                  .end_bit = end_bit};
  draw_keys<<<blocks_for(ctx, draw.rows), kThreads, 0, stream_of(ctx.device())>>>(
      draw, reinterpret_cast<Key*>(sorted.keys.raw()), elements<std::int32_t>(sorted.order));
  check_launch("draw_keys");
  sort_rows(ctx, sorted);
  return sorted;
}

void find_offsets_of(const Context& ctx, const SortRows& sorted, const DeviceBins& bins) {
  find_offsets<<<blocks_for(ctx, bins.num_bins() + 1), kThreads, 0, stream_of(ctx.device())>>>(
      reinterpret_cast<const Key*>(sorted.keys.raw()), bins.num_entries(), bins.num_bins(),
      elements<std::int32_t>(bins.offsets));
  check_launch("find_offsets");
}

// Calls cub twice: for the bytes of its scratch, and to sort. Radix sort is stable, so numbers with
// equal keys stay in order.
template <typename Sort>
void sort_with_scratch(const Context& ctx, const Sort& sort) {
  std::size_t bytes = 0;
  check(sort(nullptr, bytes), "cub::DeviceRadixSort");
  const Tensor scratch =
      ctx.empty({static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1))}, DType::kU8);
  check(sort(scratch.raw(), bytes), "cub::DeviceRadixSort");
}

}  // namespace

void sort_rows(const Context& ctx, SortRows& args) {
  const Tensor keys = ctx.empty_like(args.keys);
  const Tensor order = ctx.empty_like(args.order);
  const auto n = static_cast<int>(args.order.dim(0));
  const cudaStream_t stream = stream_of(ctx.device());
  const std::int32_t* order_in = elements<std::int32_t>(args.order);
  std::int32_t* order_out = elements<std::int32_t>(order);
  sort_with_scratch(ctx, [&](void* scratch, std::size_t& bytes) {
    if (args.keys.dtype() == DType::kF32) {
      return cub::DeviceRadixSort::SortPairsDescending(
          scratch, bytes, static_cast<const float*>(elements<float>(args.keys)),
          elements<float>(keys), order_in, order_out, n, 0, 32, stream);
    }
    return cub::DeviceRadixSort::SortPairs(
        scratch, bytes, reinterpret_cast<const Key*>(args.keys.raw()),
        reinterpret_cast<Key*>(keys.raw()), order_in, order_out, n, 0, args.end_bit, stream);
  });
  args.keys = keys;
  args.order = order;
}

DeviceBins hashed_bins(const Context& ctx, const RandomStream& stream, std::int64_t rows,
                       std::int64_t rank, HashKind hash) {
  DeviceBins bins = empty_bins(ctx, rank, rows);
  const PhiloxStream philox = philox_stream(stream);
  const cudaStream_t on = stream_of(ctx.device());
  if (hash == HashKind::kIndependent) {
    const SortRows sorted = drawn_order(ctx,
                                        {.stream = philox,
                                         .rows = rows,
                                         .window = rows,
                                         .num_bins = static_cast<std::uint32_t>(rank)},
                                        std::max(1, bits_below(rank)));
    find_offsets_of(ctx, sorted, bins);
    bins.rows = sorted.order;
    draw_signs<<<blocks_for(ctx, rows), kThreads, 0, on>>>(
        philox, elements<std::int32_t>(bins.rows), rows, elements<float>(bins.weights));
    check_launch("draw_signs");
    return covering_itself(std::move(bins));
  }
  const std::int64_t window = hash == HashKind::kWindowed ? rank : rows;
  const SortRows sorted = drawn_order(ctx, {.stream = philox, .rows = rows, .window = window},
                                      32 + bits_below((rows + window - 1) / window));
  deal_rows<<<blocks_for(ctx, std::max(rows, rank + 1)), kThreads, 0, on>>>(
      philox, elements<std::int32_t>(sorted.order), rows, rank,
      elements<std::int32_t>(bins.offsets), elements<std::int32_t>(bins.rows),
      elements<float>(bins.weights));
  check_launch("deal_rows");
  return covering_itself(std::move(bins));
}

DeviceBins group_bins(const Context& ctx, const Tensor& group_of, std::int64_t groups_per_level) {
  const std::int64_t levels = group_of.dim(0);
  const std::int64_t rows = group_of.dim(1);
  const std::int64_t entries = levels * rows;
  DeviceBins bins = empty_bins(ctx, levels * groups_per_level, entries);
  SortRows sorted{.keys = ctx.empty({8 * entries}, DType::kU8),
                  .order = ctx.empty({entries}, DType::kI32),
                  .end_bit = std::max(1, bits_below(bins.num_bins()))};
  key_by_group<<<blocks_for(ctx, entries), kThreads, 0, stream_of(ctx.device())>>>(
      elements<std::uint16_t>(group_of), entries, rows, groups_per_level,
      reinterpret_cast<Key*>(sorted.keys.raw()), elements<std::int32_t>(sorted.order),
      elements<float>(bins.weights));
  check_launch("key_by_group");
  sort_rows(ctx, sorted);
  find_offsets_of(ctx, sorted, bins);
  bins.rows = sorted.order;
  bins.num_outputs = bins.num_bins();
  bins.cover_last = groups_per_level;
  return bins;
}

DeviceBins picked_bins(const Context& ctx, const Tensor& picked, const Tensor& weights,
                       std::int64_t rows) {
  const std::int64_t rank = picked.dim(0);
  const Tensor offsets = ctx.empty({rank + 1}, DType::kI32);
  copy_plus<<<blocks_for(ctx, rank + 1), kThreads, 0, stream_of(ctx.device())>>>(
      nullptr, rank + 1, 0, elements<std::int32_t>(offsets));
  check_launch("copy_plus");
  // Rows may be picked twice and most are not picked at all: the cover is apart.
  DeviceBins joined = joined_bins(ctx, {.offsets = offsets, .rows = picked, .weights = weights},
                                  covering_bins(ctx, rows));
  joined.num_outputs = rank;
  joined.cover_first = rank;
  joined.cover_last = joined.num_bins();
  return joined;
}

DeviceBins joined_bins(const Context& ctx, const DeviceBins& first, const DeviceBins& second) {
  const std::int64_t bins_of_first = first.num_bins();
  const std::int64_t entries_of_first = first.num_entries();
  DeviceBins out =
      empty_bins(ctx, bins_of_first + second.num_bins(), entries_of_first + second.num_entries());
  copy_elements(out.offsets.slice(0, bins_of_first + 1), first.offsets);
  copy_plus<<<blocks_for(ctx, second.num_bins()), kThreads, 0, stream_of(ctx.device())>>>(
      elements<std::int32_t>(second.offsets) + 1, second.num_bins(),
      static_cast<std::int32_t>(entries_of_first),
      elements<std::int32_t>(out.offsets) + bins_of_first + 1);
  check_launch("copy_plus");
  copy_elements(out.rows.slice(0, entries_of_first), first.rows);
  copy_elements(out.rows.slice(entries_of_first, out.num_entries()), second.rows);
  copy_elements(out.weights.slice(0, entries_of_first), first.weights);
  copy_elements(out.weights.slice(entries_of_first, out.num_entries()), second.weights);
  out.cover_first = first.cover_first;
  out.cover_last = first.cover_last;
  out.num_outputs = first.num_outputs + second.num_outputs;
  return out;
}

DeviceBins covering_bins(const Context& ctx, std::int64_t rows) {
  constexpr std::int64_t kRowsOfBin = 64;
  DeviceBins bins = empty_bins(ctx, (rows + kRowsOfBin - 1) / kRowsOfBin, rows);
  cover_rows<<<blocks_for(ctx, rows), kThreads, 0, stream_of(ctx.device())>>>(
      rows, kRowsOfBin, bins.num_bins(), elements<std::int32_t>(bins.offsets),
      elements<std::int32_t>(bins.rows), elements<float>(bins.weights));
  check_launch("cover_rows");
  bins.cover_last = bins.num_bins();
  return bins;
}

Tensor drawn_rows(const Context& ctx, const RandomStream& stream, std::int64_t rows,
                  std::int64_t count, std::size_t word) {
  const SortRows sorted = drawn_order(ctx,
                                      {.stream = philox_stream(stream),
                                       .rows = rows,
                                       .window = rows,
                                       .word = static_cast<int>(word)},
                                      /*end_bit=*/32);
  return sorted.order.slice(0, count);
}

DeviceBins bins_on_device(const Context& ctx, const RowBins& bins) {
  DeviceBins out = empty_bins(ctx, bins.num_bins(), static_cast<std::int64_t>(bins.rows.size()));
  const std::vector<float> weights(bins.weights.begin(), bins.weights.end());
  const cudaStream_t stream = stream_of(ctx.device());
  const auto upload = [&](const Tensor& to, const void* from) {
    check(cudaMemcpyAsync(to.raw(), from, static_cast<std::size_t>(to.bytes()),
                          cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync");
  };
  upload(out.offsets, bins.offsets.data());
  upload(out.rows, bins.rows.data());
  upload(out.weights, weights.data());
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  out.cover_first = bins.cover_first;
  out.cover_last = bins.cover_last;
  out.num_outputs = bins.num_outputs;
  return out;
}

}  // namespace ghost::cuda
