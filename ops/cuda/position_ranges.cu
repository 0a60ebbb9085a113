#include <algorithm>

#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/block_column_sum.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/position_ranges_kernels.h"

namespace ghost::cuda {
namespace {

constexpr int kLanes = 8;  // channels of a thread
constexpr int kWarps = 16;
constexpr int kRangesOfLaunch = 128;

struct WeightedRange {
  std::int64_t begin;
  std::int64_t end;
  float weight;
};

/// The ranges of a launch travel with its arguments: no memory of the device holds them.
struct RangeList {
  WeightedRange ranges[kRangesOfLaunch];
  std::int64_t first;  // slot of the first one
  std::int64_t count;
};

RangeList list_of(const PositionRanges& ranges, RangeWeight weight, std::int64_t first) {
  const auto slots = static_cast<std::int64_t>(ranges.size());
  RangeList list{.first = first, .count = std::min<std::int64_t>(kRangesOfLaunch, slots - first)};
  for (std::int64_t i = 0; i < list.count; ++i) {
    const PositionRange& range = ranges[static_cast<std::size_t>(first + i)];
    list.ranges[i] = {
        .begin = range.begin,
        .end = range.end,
        .weight = weight == RangeWeight::kMean ? 1.0F / static_cast<float>(range.size()) : 1.0F};
  }
  return list;
}

// A block sums 256 channels over one range: a warp takes every 16th position, a lane 8 channels;
// the warps are added in order. Traffic: x once for every range that it is in.
// Launch: blockDim = (32, 16), gridDim = (n * ranges of the list, channels / 256).
template <typename T>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    sum_over_range(const T* __restrict__ x, T* __restrict__ v,
                   const __grid_constant__ RangeList list, std::int64_t slots, std::int64_t seq_len,
                   std::int64_t channels, bool is_aligned) {
  __shared__ float shared[kWarps][kWarpSize * kLanes];
  const std::int64_t n = blockIdx.x / list.count;
  const std::int64_t i = blockIdx.x % list.count;
  const WeightedRange range = list.ranges[i];
  const int first = static_cast<int>(threadIdx.x) * kLanes;
  const std::int64_t begin = std::int64_t{blockIdx.y} * kWarpSize * kLanes;
  const std::int64_t left = channels - begin - first;  // may be negative
  float sums[kLanes] = {};
#pragma unroll 4
  for (std::int64_t t = range.begin + threadIdx.y; t < range.end; t += kWarps) {
    float values[kLanes];
    load_lanes<kLanes>(x + (n * seq_len + t) * channels + begin + first, left, is_aligned, values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += values[lane];
    }
  }
  const float total = block_column_sum(sums, shared);
  const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);  // 0 to 511
  if (column < kWarpSize * kLanes && begin + column < channels) {
    v[(n * slots + list.first + i) * channels + begin + column] =
        from_float<T>(range.weight * total);
  }
}

// Blocks stride over rows, threads over channels, 16 bytes each. x may be y. Traffic: x and y once;
// v from cache.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_to_ranges(const T* x, const T* __restrict__ v, T* y, const __grid_constant__ RangeList list,
                  std::int64_t rows, std::int64_t slots, std::int64_t seq_len,
                  std::int64_t channels, bool is_aligned) {
  constexpr int kRun = kVectorLanes<T>;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int64_t t = row % seq_len;
    const T* slot = v + (row / seq_len * slots + list.first) * channels;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kRun; c < channels;
         c += std::int64_t{blockDim.x} * kRun) {
      float sums[kRun] = {};
      if (x != nullptr) {
        load_lanes<kRun>(x + row * channels + c, channels - c, is_aligned, sums);
      }
      for (int i = 0; i < static_cast<int>(list.count); ++i) {
        if (t < list.ranges[i].begin || t >= list.ranges[i].end) {
          continue;
        }
        float values[kRun];
        load_lanes<kRun>(slot + i * channels + c, channels - c, is_aligned, values);
#pragma unroll
        for (int lane = 0; lane < kRun; ++lane) {
          sums[lane] += list.ranges[i].weight * values[lane];
        }
      }
      store_lanes<kRun>(y + row * channels + c, channels - c, is_aligned, sums);
    }
  }
}

}  // namespace

void position_ranges(const SumOverRanges& args) {
  const std::int64_t channels = args.x.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t n = args.v.numel() / (slots * channels);
  constexpr std::int64_t kColumns = std::int64_t{kWarpSize} * kLanes;
  for (std::int64_t first = 0; first < slots; first += kRangesOfLaunch) {
    const RangeList list = list_of(args.ranges, args.weight, first);
    const dim3 grid(static_cast<unsigned>(n * list.count),
                    static_cast<unsigned>((channels + kColumns - 1) / kColumns));
    visit_gpu_real(args.x.dtype(), "mean_over_positions", [&]<typename T>() {
      const bool is_aligned = are_aligned(args.x.raw()) && channels % kVectorLanes<T> == 0;
      sum_over_range<T><<<grid, dim3(kWarpSize, kWarps), 0, stream_of(args.x)>>>(
          elements<T>(args.x), elements<T>(args.v), list, slots, args.x.dim(-2), channels,
          is_aligned);
    });
    check_launch("sum_over_range");
  }
}

void position_ranges(const AddToRanges& args) {
  const std::int64_t channels = args.y.dim(-1);
  const auto slots = static_cast<std::int64_t>(args.ranges.size());
  const std::int64_t rows = args.y.numel() / channels;
  for (std::int64_t first = 0; first < slots; first += kRangesOfLaunch) {
    const RangeList list = list_of(args.ranges, args.weight, first);
    visit_gpu_real(args.y.dtype(), "add_to_positions", [&]<typename T>() {
      T* y = elements<T>(args.y);
      const T* x = first == 0 ? elements<T>(args.x) : y;
      const bool is_aligned = are_aligned(x, args.v.raw(), y) && channels % kVectorLanes<T> == 0;
      const int blocks = num_blocks(args.y.device(), rows * kThreads, kThreads);
      add_to_ranges<T><<<blocks, kThreads, 0, stream_of(args.y)>>>(
          x, elements<T>(args.v), y, list, rows, slots, args.y.dim(-2), channels, is_aligned);
    });
    check_launch("add_to_ranges");
  }
}

}  // namespace ghost::cuda
