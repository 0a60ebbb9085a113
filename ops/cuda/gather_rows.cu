#include <algorithm>
#include <cub/block/block_scan.cuh>

#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/gather_rows_kernels.h"

namespace ghost::cuda {
namespace {

constexpr int kLanes = 8;         // columns of a thread
constexpr int kMaxThreads = 128;  // of a block
constexpr int kRowsInFlight = 4;  // loads of a thread before their first use
constexpr int kSumThreads = 32;   // a block of column sums is 32 columns by 32 workers
constexpr int kFinishThreads = 256;
constexpr int kPlanThreads = 1024;

/// Consecutive entries of one bin.
struct alignas(16) Item {
  std::int32_t bin;
  std::int32_t first;
  std::int32_t last;
  std::int32_t slot;  // where its sum goes when the bin has several items; else -1
};

/// A bin of several items.
struct SplitBin {
  std::int32_t bin;
  std::int32_t first_slot;
  std::int32_t num_slots;
};

/// Bins are as large as their groups are, which the host does not know: a bin of more than
/// `entries_of_item` entries becomes several items.
struct Plan {
  Item* items;       // at most bins + entries / entries_of_item
  SplitBin* splits;  // at most entries / entries_of_item
  std::int32_t* num_items;
  std::int32_t* num_splits;
};

// One block; each thread has a stretch of bins.
__global__ void __launch_bounds__(kPlanThreads)
    plan_items(const std::int32_t* __restrict__ offsets, std::int64_t num_bins,
               std::int64_t num_outputs, std::int32_t entries_of_item, Plan plan) {
  using Scan = cub::BlockScan<std::int32_t, kPlanThreads>;
  __shared__ typename Scan::TempStorage scratch;
  const std::int64_t stretch = (num_bins + kPlanThreads - 1) / kPlanThreads;
  const std::int64_t begin = min(num_bins, threadIdx.x * stretch);
  const std::int64_t end = min(num_bins, begin + stretch);
  const auto items_of = [=](std::int64_t bin) {
    const std::int32_t size = offsets[bin + 1] - offsets[bin];
    return max(1, (size + entries_of_item - 1) / entries_of_item);
  };
  std::int32_t items = 0;
  std::int32_t slots = 0;
  std::int32_t splits = 0;
  for (std::int64_t bin = begin; bin < end; ++bin) {
    const std::int32_t count = items_of(bin);
    const bool is_split = count > 1 && bin < num_outputs;
    items += count;
    slots += is_split ? count : 0;
    splits += is_split ? 1 : 0;
  }
  std::int32_t item = 0;
  std::int32_t slot = 0;
  std::int32_t split = 0;
  std::int32_t total_items = 0;
  std::int32_t total_splits = 0;
  Scan(scratch).ExclusiveSum(items, item, total_items);
  __syncthreads();
  Scan(scratch).ExclusiveSum(slots, slot);
  __syncthreads();
  Scan(scratch).ExclusiveSum(splits, split, total_splits);
  for (std::int64_t bin = begin; bin < end; ++bin) {
    const std::int32_t count = items_of(bin);
    const bool is_split = count > 1 && bin < num_outputs;
    if (is_split) {
      plan.splits[split++] = {
          .bin = static_cast<std::int32_t>(bin), .first_slot = slot, .num_slots = count};
    }
    for (std::int32_t k = 0; k < count; ++k) {
      const std::int32_t first = offsets[bin] + k * entries_of_item;
      plan.items[item++] = {.bin = static_cast<std::int32_t>(bin),
                            .first = first,
                            .last = min(first + entries_of_item, offsets[bin + 1]),
                            .slot = is_split ? slot++ : -1};
    }
  }
  if (threadIdx.x == 0) {
    *plan.num_items = total_items;
    *plan.num_splits = total_splits;
  }
}

/// Items are dealt round among workers, the blocks of one tile of columns.
template <typename T, typename Out>
struct GatherPass {
  const T* x;
  std::int64_t rows;
  std::int64_t stride;
  std::int64_t columns;
  std::int64_t first_row;
  const std::int32_t* entry_rows;
  const float* weights;
  Plan plan;
  std::int64_t cover_first;
  std::int64_t cover_last;
  std::int64_t num_outputs;
  Out* out;               // [num_outputs, columns]
  bool accumulate;        // into out
  float* slots;           // [slots, columns]
  float* block_sums;      // [workers, columns] or null: sums of the covered rows
  double* block_squares;  // [tiles * workers] or null
  bool x_is_aligned;      // x allows accesses of 16 bytes
  bool out_is_aligned;    // what is written does
};

// One thread holds 8 columns; a block walks the entries of its items in their order, four rows in
// flight, and writes each sum once. Traffic: x once per bin that a row lies in, out once. The work
// is cut by sizes alone and nothing is added atomically: the same bits every run. Launch: (tiles of
// blockDim * 8 columns, workers), whole warps.
template <typename T, typename Out>
__global__ void __launch_bounds__(kMaxThreads) gather_items(GatherPass<T, Out> pass) {
  __shared__ double shared[kWarpSize];
  const std::int64_t column = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLanes;
  const std::int64_t left = pass.columns - column;
  float covered[kLanes] = {};
  float squares = 0.0F;
  const int num_items = left > 0 ? *pass.plan.num_items : 0;
  for (int i = static_cast<int>(blockIdx.y); i < num_items; i += static_cast<int>(gridDim.y)) {
    const Item item = pass.plan.items[i];
    const bool covers = item.bin >= pass.cover_first && item.bin < pass.cover_last;
    const bool is_output = item.bin < pass.num_outputs;
    float sum[kLanes] = {};
    if (is_output && item.slot < 0 && pass.accumulate) {
      load_lanes<kLanes>(pass.out + item.bin * pass.columns + column, left, pass.out_is_aligned,
                         sum);
    }
    for (std::int32_t entry = item.first; entry < item.last; entry += kRowsInFlight) {
      float values[kRowsInFlight][kLanes];
      float weights[kRowsInFlight];
#pragma unroll
      for (int k = 0; k < kRowsInFlight; ++k) {
        const std::int64_t row =
            entry + k < item.last ? pass.entry_rows[entry + k] - pass.first_row : -1;
        const bool is_here = row >= 0 && row < pass.rows;
        weights[k] = is_here ? pass.weights[entry + k] : 0.0F;
        load_lanes<kLanes>(pass.x + (is_here ? row * pass.stride + column : 0), is_here ? left : 0,
                           pass.x_is_aligned, values[k]);
      }
#pragma unroll
      for (int k = 0; k < kRowsInFlight; ++k) {
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
          sum[lane] += weights[k] * values[k][lane];
        }
        if (covers) {
#pragma unroll
          for (int lane = 0; lane < kLanes; ++lane) {
            covered[lane] += values[k][lane];
            squares += values[k][lane] * values[k][lane];
          }
        }
      }
    }
    if (item.slot >= 0) {
      store_lanes<kLanes>(pass.slots + item.slot * pass.columns + column, left, pass.out_is_aligned,
                          sum);
    } else if (is_output) {
      store_lanes<kLanes>(pass.out + item.bin * pass.columns + column, left, pass.out_is_aligned,
                          sum);
    }
  }
  if (left > 0 && pass.block_sums != nullptr) {
    store_lanes<kLanes>(pass.block_sums + blockIdx.y * pass.columns + column, left,
                        pass.out_is_aligned, covered);
  }
  if (pass.block_squares != nullptr) {
    const double total = block_sum(static_cast<double>(squares), shared);
    if (threadIdx.x == 0) {
      pass.block_squares[std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x] = total;
    }
  }
}

// Bins of several items: out = (accumulate ? out : 0) + their sums, in order.
template <typename Out>
__global__ void __launch_bounds__(kFinishThreads)
    add_slots(Plan plan, const float* __restrict__ slots, std::int64_t columns, bool accumulate,
              Out* __restrict__ out) {
  const std::int64_t column = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= columns) {
    return;
  }
  const int num_splits = *plan.num_splits;
  for (int i = static_cast<int>(blockIdx.y); i < num_splits; i += static_cast<int>(gridDim.y)) {
    const SplitBin split = plan.splits[i];
    Out* to = out + split.bin * columns + column;
    float sum = accumulate ? to_float(*to) : 0.0F;
    for (std::int64_t k = 0; k < split.num_slots; ++k) {
      sum += slots[(split.first_slot + k) * columns + column];
    }
    *to = from_float<Out>(sum);
  }
}

// Block: 32 columns by 32 workers at a time.
__global__ void __launch_bounds__(kSumThreads* kSumThreads)
    add_block_sums(const float* __restrict__ block_sums, std::int64_t workers, std::int64_t columns,
                   bool accumulate, float* __restrict__ out) {
  __shared__ float shared[kSumThreads][kSumThreads + 1];
  const std::int64_t column = std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x;
  float sum = 0.0F;
  if (column < columns) {
    for (std::int64_t worker = threadIdx.y; worker < workers; worker += kSumThreads) {
      sum += block_sums[worker * columns + column];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    float total = accumulate ? out[column] : 0.0F;
    for (int part = 0; part < kSumThreads; ++part) {
      total += shared[part][threadIdx.x];
    }
    out[column] = total;
  }
}

__global__ void __launch_bounds__(kFinishThreads)
    add_squares(const double* __restrict__ block_squares, std::int64_t n,
                double* __restrict__ squared_norm) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    sum += block_squares[i];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *squared_norm += sum;
  }
}

// One warp a row.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    norms_of_rows(const T* __restrict__ x, std::int64_t rows, std::int64_t stride,
                  std::int64_t columns, bool is_aligned, float* __restrict__ out) {
  const int lane_of_warp = static_cast<int>(threadIdx.x) % kWarpSize;
  const std::int64_t warps = std::int64_t{gridDim.x} * (blockDim.x / kWarpSize);
  for (std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarpSize;
       row < rows; row += warps) {
    float sum = 0.0F;
    for (std::int64_t column = lane_of_warp * kLanes; column < columns;
         column += kWarpSize * kLanes) {
      float values[kLanes];
      load_lanes<kLanes>(x + row * stride + column, columns - column, is_aligned, values);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        sum += values[lane] * values[lane];
      }
    }
    sum = warp_sum(sum);
    if (lane_of_warp == 0) {
      out[row] = sqrtf(sum);
    }
  }
}

/// How the work is cut; by sizes and the device alone.
struct Cut {
  int threads;
  std::int64_t tiles;
  std::int64_t workers;
  std::int64_t entries_of_item;
  std::int64_t most_items;
  std::int64_t most_slots;
  std::int64_t most_splits;
};

Cut cut_work(const DeviceGatherRows& args) {
  constexpr std::int64_t kBlocksOfMultiprocessor = 8;
  constexpr std::int64_t kFewestEntries = 16;  // of an item
  const std::int64_t vectors = (args.columns + kLanes - 1) / kLanes;
  const std::int64_t entries = args.bins->num_entries();
  Cut cut;
  cut.threads = static_cast<int>(
      std::min<std::int64_t>(kMaxThreads, (vectors + kWarpSize - 1) / kWarpSize * kWarpSize));
  cut.tiles = (vectors + cut.threads - 1) / cut.threads;
  const std::int64_t blocks = kBlocksOfMultiprocessor * num_multiprocessors(args.x.device());
  const std::int64_t workers = std::max<std::int64_t>(1, blocks / cut.tiles);
  cut.entries_of_item = std::max(kFewestEntries, (entries + workers - 1) / workers);
  // A bin of k > 1 items has more than (k - 1) entries_of_item >= k / 2 entries_of_item entries.
  cut.most_splits = entries / cut.entries_of_item;
  cut.most_slots = 2 * entries / cut.entries_of_item;
  cut.most_items = args.bins->num_bins() + entries / cut.entries_of_item;
  cut.workers = std::min(workers, cut.most_items);
  return cut;
}

/// Scratch for a plan; `lists` holds it and must outlive its use.
Plan make_plan(const Context& ctx, const DeviceGatherRows& args, const Cut& cut, Tensor& lists) {
  const std::int64_t items = cut.most_items * static_cast<std::int64_t>(sizeof(Item));
  const std::int64_t splits = cut.most_splits * static_cast<std::int64_t>(sizeof(SplitBin));
  lists =
      ctx.empty({items + splits + 2 * static_cast<std::int64_t>(sizeof(std::int32_t))}, DType::kU8);
  const Plan plan{.items = reinterpret_cast<Item*>(lists.raw()),
                  .splits = reinterpret_cast<SplitBin*>(lists.raw() + items),
                  .num_items = reinterpret_cast<std::int32_t*>(lists.raw() + items + splits),
                  .num_splits = reinterpret_cast<std::int32_t*>(lists.raw() + items + splits) + 1};
  plan_items<<<1, kPlanThreads, 0, stream_of(args.x)>>>(
      elements<std::int32_t>(args.bins->offsets), args.bins->num_bins(),
      args.out.defined() ? args.bins->num_outputs : 0,
      static_cast<std::int32_t>(cut.entries_of_item), plan);
  check_launch("plan_items");
  return plan;
}

template <typename T, typename Out>
void gather(const Context& ctx, const DeviceGatherRows& args) {
  const DeviceBins& bins = *args.bins;
  const std::int64_t columns = args.columns;
  const Cut cut = cut_work(args);
  const cudaStream_t stream = stream_of(args.x);
  Tensor lists;
  Tensor slots;
  Tensor block_sums;
  Tensor block_squares;
  const Plan plan = make_plan(ctx, args, cut, lists);
  if (args.out.defined() && cut.most_slots > 0) {
    slots = ctx.empty({cut.most_slots, columns}, DType::kF32);
  }
  if (args.column_sums.defined()) {
    block_sums = ctx.empty({cut.workers, columns}, DType::kF32);
  }
  if (args.squared_norm.defined()) {
    block_squares = ctx.empty({cut.tiles * cut.workers}, DType::kF64);
  }
  const T* x = elements<T>(args.x) + args.first_column;
  Out* out = elements<Out>(args.out);
  const GatherPass<T, Out> pass{.x = x,
                                .rows = args.x.dim(0),
                                .stride = args.x.dim(1),
                                .columns = columns,
                                .first_row = args.first_row,
                                .entry_rows = elements<std::int32_t>(bins.rows),
                                .weights = elements<float>(bins.weights),
                                .plan = plan,
                                .cover_first = bins.cover_first,
                                .cover_last = bins.cover_last,
                                .num_outputs = args.out.defined() ? bins.num_outputs : 0,
                                .out = out,
                                .accumulate = args.accumulate,
                                .slots = elements<float>(slots),
                                .block_sums = elements<float>(block_sums),
                                .block_squares = elements<double>(block_squares),
                                .x_is_aligned = are_aligned(x) && args.x.dim(1) % kLanes == 0,
                                .out_is_aligned = are_aligned(out) && columns % kLanes == 0};
  const dim3 grid(static_cast<unsigned>(cut.tiles), static_cast<unsigned>(cut.workers));
  gather_items<T, Out><<<grid, static_cast<unsigned>(cut.threads), 0, stream>>>(pass);
  check_launch("gather_items");
  if (slots.defined()) {
    constexpr std::int64_t kMostBlocks = 32768;
    const dim3 blocks(
        static_cast<unsigned>((columns + kFinishThreads - 1) / kFinishThreads),
        static_cast<unsigned>(std::clamp<std::int64_t>(cut.most_splits, 1, kMostBlocks)));
    add_slots<Out><<<blocks, kFinishThreads, 0, stream>>>(plan, elements<float>(slots), columns,
                                                          args.accumulate, out);
    check_launch("add_slots");
  }
  if (block_sums.defined()) {
    const auto blocks = static_cast<unsigned>((columns + kSumThreads - 1) / kSumThreads);
    add_block_sums<<<blocks, dim3(kSumThreads, kSumThreads), 0, stream>>>(
        elements<float>(block_sums), cut.workers, columns, args.accumulate_column_sums,
        elements<float>(args.column_sums));
    check_launch("add_block_sums");
  }
  if (block_squares.defined()) {
    add_squares<<<1, kFinishThreads, 0, stream>>>(elements<double>(block_squares),
                                                  cut.tiles * cut.workers,
                                                  elements<double>(args.squared_norm));
    check_launch("add_squares");
  }
}

}  // namespace

void gather_rows(const Context& ctx, const DeviceGatherRows& args) {
  visit_gpu_real(args.x.dtype(), "gather_rows", [&]<typename T>() {
    if (args.out.defined() && args.out.dtype() != args.x.dtype()) {
      gather<T, float>(ctx, args);
    } else {
      gather<T, T>(ctx, args);
    }
  });
}

void gather_rows(const RowNorms& args, std::int64_t columns) {
  const std::int64_t stride = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / stride;
  visit_gpu_real(args.x.dtype(), "gather_rows", [&]<typename T>() {
    const T* x = elements<T>(args.x);
    norms_of_rows<T>
        <<<num_blocks(args.x.device(), rows * kWarpSize, kFinishThreads), kFinishThreads, 0,
           stream_of(args.x)>>>(x, rows, stride, columns > 0 ? columns : stride,
                                are_aligned(x) && stride % kLanes == 0, elements<float>(args.out));
    check_launch("norms_of_rows");
  });
}

}  // namespace ghost::cuda
