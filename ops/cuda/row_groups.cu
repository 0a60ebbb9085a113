#include <algorithm>
#include <cstdint>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/random/cuda/philox.cuh"
#include "engine/tensor/primitives.h"
#include "ops/cuda/gemm.h"
#include "ops/gather_rows_kernels.h"
#include "ops/row_groups_kernels.h"

namespace ghost::cuda {
namespace {

constexpr std::uint32_t kProjectionDraws = 0x80000000U;  // as the CPU's
constexpr std::uint32_t kCodeDraws = 0xC0000000U;
constexpr std::size_t kAnchorWord = 2;

constexpr int kThreads = 256;
constexpr int kSumThreads = 1024;
constexpr int kAssignThreads = 128;
constexpr int kThreadsOfRow = 4;    // that share the anchors among them
constexpr int kAnchorsAtOnce = 64;  // in shared memory

__device__ __forceinline__ std::int64_t first_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t index_stride() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

int blocks_for(const Tensor& on, std::int64_t n) { return num_blocks(on.device(), n, kThreads); }

// One block, as all labels are looked at before the first group is given.
__global__ void __launch_bounds__(kSumThreads)
    group_labels(const std::int32_t* __restrict__ labels, std::int64_t rows, std::uint32_t groups,
                 std::uint16_t* __restrict__ group_of) {
  constexpr std::uint32_t kMultiplier = 2654435769U;  // 2^32 / golden ratio: Fibonacci hashing
  bool is_small = true;
  for (std::int64_t row = threadIdx.x; row < rows; row += blockDim.x) {
    is_small = is_small && static_cast<std::uint32_t>(labels[row]) < groups;
  }
  const bool are_small = __syncthreads_and(is_small ? 1 : 0) != 0;
  for (std::int64_t row = threadIdx.x; row < rows; row += blockDim.x) {
    const auto label = static_cast<std::uint32_t>(labels[row]);
    const std::uint32_t hashed = label * kMultiplier;
    group_of[row] = static_cast<std::uint16_t>(
        are_small ? label : static_cast<std::uint32_t>(std::uint64_t{hashed} * groups >> 32));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_features(const T* __restrict__ x, std::int64_t rows, std::int64_t channels,
                  std::int64_t width, float* __restrict__ features) {
  for (std::int64_t i = first_index(); i < rows * channels; i += index_stride()) {
    features[i / channels * width + i % channels] = to_float(x[i]);
  }
}

// Bit i of the stream's words, one after the other, is entry i: 1 is -.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    draw_signs(PhiloxStream stream, std::int64_t n, T* __restrict__ signs) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    const std::int64_t word = i / 32;
    const uint4 words =
        philox_words(stream, kProjectionDraws + static_cast<std::uint32_t>(word / 4));
    const int part = static_cast<int>(word % 4);
    const std::uint32_t bits = part == 0   ? words.x
                               : part == 1 ? words.y
                               : part == 2 ? words.z
                                           : words.w;
    signs[i] = from_float<T>((bits >> (i % 32) & 1U) == 0 ? 1.0F : -1.0F);
  }
}

// One block: sum of squares of the first `columns` columns.
__global__ void __launch_bounds__(kSumThreads)
    square_features(const float* __restrict__ features, std::int64_t rows, std::int64_t columns,
                    std::int64_t width, double* __restrict__ sum_of_squares) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < rows * columns; i += blockDim.x) {
    const auto value = static_cast<double>(features[i / columns * width + i % columns]);
    sum += value * value;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *sum_of_squares = sum;
  }
}

// features[:, projection ..) = weight * (size of the features of x) * signs of the label
__global__ void __launch_bounds__(kThreads)
    append_codes(PhiloxStream stream, const std::int32_t* __restrict__ labels, std::int64_t rows,
                 std::int64_t projection, std::int64_t width, double label_weight,
                 const double* __restrict__ sum_of_squares, float* __restrict__ features) {
  const std::int64_t code = width - projection;
  const double mean_square = *sum_of_squares / static_cast<double>(rows * code);
  const auto size = static_cast<float>(label_weight * sqrt(mean_square));
  for (std::int64_t row = first_index(); row < rows; row += index_stride()) {
    const auto label = static_cast<std::uint32_t>(labels[row]);
    const std::uint32_t bits = philox_words(stream, kCodeDraws + (label & 0x0fffffffU)).x;
    for (std::int64_t k = 0; k < code; ++k) {
      features[row * width + projection + k] = (bits >> k & 1U) == 0 ? size : -size;
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    copy_anchors(const float* __restrict__ features, const std::int32_t* __restrict__ drawn,
                 std::int64_t num_drawn, std::int64_t first, std::int64_t groups,
                 std::int64_t width, float* __restrict__ anchors) {
  for (std::int64_t i = first_index(); i < groups * width; i += index_stride()) {
    const std::int64_t row = drawn[(first + i / width) % num_drawn];
    anchors[i] = features[row * width + i % width];
  }
}

// The nearest anchor, a, maximises z.a - |a|^2 / 2; the first of equal ones wins, NaN features find
// the first of all: the loss will tell. Four threads a row take every fourth anchor each; anchors
// pass through shared memory, 64 at a time, padded by 4 floats so that the four read other banks.
// Features narrower than kWidth are completed by zeros. Launch: 32 rows a block.
template <int kWidth>
__global__ void __launch_bounds__(kAssignThreads)
    assign_rows(const float* __restrict__ features, std::int64_t rows, int width,
                const float* __restrict__ anchors, std::int64_t groups,
                std::uint16_t* __restrict__ group_of) {
  __shared__ __align__(16) float tile[kAnchorsAtOnce][kWidth + 4];
  __shared__ float half_squares[kAnchorsAtOnce];
  const int part = static_cast<int>(threadIdx.x) % kThreadsOfRow;
  const std::int64_t row = first_index() / kThreadsOfRow;
  float z[kWidth];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    z[k] = row < rows && k < width ? features[row * width + k] : 0.0F;
  }
  float best = -INFINITY;
  int found = 0;
  for (std::int64_t base = 0; base < groups; base += kAnchorsAtOnce) {
    __syncthreads();  // the tile before has been read
    for (int i = static_cast<int>(threadIdx.x); i < kAnchorsAtOnce * kWidth; i += kAssignThreads) {
      const int g = i / kWidth;
      const int k = i % kWidth;
      tile[g][k] = base + g < groups && k < width ? anchors[(base + g) * width + k] : 0.0F;
    }
    __syncthreads();
    if (threadIdx.x < kAnchorsAtOnce) {
      float sum = 0.0F;
      for (int k = 0; k < kWidth; ++k) {
        sum += tile[threadIdx.x][k] * tile[threadIdx.x][k];
      }
      half_squares[threadIdx.x] = base + threadIdx.x < groups ? sum / 2 : INFINITY;
    }
    __syncthreads();
    for (int g = part; g < kAnchorsAtOnce; g += kThreadsOfRow) {
      float score = -half_squares[g];
#pragma unroll
      for (int k = 0; k < kWidth; k += 4) {
        const float4 a = *reinterpret_cast<const float4*>(&tile[g][k]);
        score += z[k] * a.x;
        score += z[k + 1] * a.y;
        score += z[k + 2] * a.z;
        score += z[k + 3] * a.w;
      }
      if (score > best) {
        best = score;
        found = static_cast<int>(base) + g;
      }
    }
  }
#pragma unroll
  for (int offset = 1; offset < kThreadsOfRow; offset *= 2) {
    const float other = __shfl_xor_sync(kFullWarp, best, offset);
    const int other_found = __shfl_xor_sync(kFullWarp, found, offset);
    if (other > best || (other == best && other_found < found)) {
      best = other;
      found = other_found;
    }
  }
  if (part == 0 && row < rows) {
    group_of[row] = static_cast<std::uint16_t>(found);
  }
}

// One warp an anchor.
__global__ void __launch_bounds__(kThreads)
    halve_squares(const float* __restrict__ anchors, std::int64_t groups, std::int64_t width,
                  float* __restrict__ half_squares) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  for (std::int64_t g = first_index() / kWarpSize; g < groups; g += index_stride() / kWarpSize) {
    float sum = 0.0F;
    for (std::int64_t k = lane; k < width; k += kWarpSize) {
      sum += anchors[g * width + k] * anchors[g * width + k];
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      half_squares[g] = sum / 2;
    }
  }
}

// One warp a row: the first of the largest products less half_squares.
__global__ void __launch_bounds__(kThreads)
    find_largest(const float* __restrict__ products, std::int64_t rows, std::int64_t groups,
                 const float* __restrict__ half_squares, std::uint16_t* __restrict__ group_of) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  for (std::int64_t row = first_index() / kWarpSize; row < rows;
       row += index_stride() / kWarpSize) {
    float best = -INFINITY;
    int found = 0;
    for (std::int64_t g = lane; g < groups; g += kWarpSize) {
      const float score = products[row * groups + g] - half_squares[g];
      if (score > best) {
        best = score;
        found = static_cast<int>(g);
      }
    }
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const float other = __shfl_xor_sync(kFullWarp, best, offset);
      const int other_found = __shfl_xor_sync(kFullWarp, found, offset);
      if (other > best || (other == best && other_found < found)) {
        best = other;
        found = other_found;
      }
    }
    if (lane == 0) {
      group_of[row] = static_cast<std::uint16_t>(found);
    }
  }
}

// Each anchor moves to the mean of its rows; one without rows stays.
__global__ void __launch_bounds__(kThreads)
    move_to_means(const float* __restrict__ sums, const std::int32_t* __restrict__ offsets,
                  std::int64_t groups, std::int64_t width, float* __restrict__ anchors) {
  for (std::int64_t i = first_index(); i < groups * width; i += index_stride()) {
    const std::int32_t count = offsets[i / width + 1] - offsets[i / width];
    if (count > 0) {
      anchors[i] = sums[i] / static_cast<float>(count);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    subtract_anchors(const float* __restrict__ anchors, const std::uint16_t* __restrict__ group_of,
                     std::int64_t rows, std::int64_t width, float* __restrict__ features) {
  for (std::int64_t i = first_index(); i < rows * width; i += index_stride()) {
    features[i] -= anchors[group_of[i / width] * width + i % width];
  }
}

// How many rows groups of different levels share, [groups, groups]. Sums of ones are exact in f32
// below 2^24, so the order of the additions does not matter.
__global__ void __launch_bounds__(kThreads)
    count_shared_rows(const std::uint16_t* __restrict__ group_of, std::int64_t levels,
                      std::int64_t rows, std::int64_t per_level, float* __restrict__ shared_rows) {
  const std::int64_t groups = levels * per_level;
  for (std::int64_t i = first_index(); i < levels * rows; i += index_stride()) {
    const std::int64_t row = i % rows;
    const std::int64_t g = i / rows * per_level + group_of[i];
    for (std::int64_t level = 0; level < levels; ++level) {
      const std::int64_t h = level * per_level + group_of[level * rows + row];
      atomicAdd(&shared_rows[g * groups + h], 1.0F);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    count_rows(const std::uint16_t* __restrict__ group_of, std::int64_t rows,
               float* __restrict__ counts) {
  for (std::int64_t row = first_index(); row < rows; row += index_stride()) {
    atomicAdd(&counts[group_of[row]], 1.0F);  // exact, as above
  }
}

// mu += (sums - product) / count, for the groups of one level; product has their rows only.
__global__ void __launch_bounds__(kThreads)
    correct_means(const float* __restrict__ sums, const float* __restrict__ product,
                  const float* __restrict__ counts, std::int64_t count_stride, std::int64_t groups,
                  std::int64_t columns, float* __restrict__ mu) {
  for (std::int64_t i = first_index(); i < groups * columns; i += index_stride()) {
    const float count = counts[i / columns * count_stride];
    if (count > 0.0F) {
      mu[i] += (sums[i] - product[i]) / count;
    }
  }
}

// One level: sums become means, and |x - mu|^2 - |x|^2 = - sum of count |mu|^2, a part a block.
__global__ void __launch_bounds__(kThreads)
    divide_sums(const float* __restrict__ counts, std::int64_t groups, std::int64_t columns,
                float* __restrict__ sums, double* __restrict__ differences) {
  __shared__ double shared[kWarpSize];
  double difference = 0.0;
  for (std::int64_t i = first_index(); i < groups * columns; i += index_stride()) {
    const float count = counts[i / columns];
    const float mean = count > 0.0F ? sums[i] / count : 0.0F;
    difference -= static_cast<double>(mean) * static_cast<double>(sums[i]);
    sums[i] = mean;
  }
  difference = block_sum(difference, shared);
  if (threadIdx.x == 0) {
    differences[blockIdx.x] = difference;
  }
}

// |x - A mu|^2 - |x|^2 = - sum_g mu_g (2 sum_g - (A^T A mu)_g), a part a block.
__global__ void __launch_bounds__(kThreads)
    compare_means(const float* __restrict__ sums, const float* __restrict__ product,
                  const float* __restrict__ mu, std::int64_t n, double* __restrict__ differences) {
  __shared__ double shared[kWarpSize];
  double difference = 0.0;
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    difference -= static_cast<double>(mu[i]) * static_cast<double>(2.0F * sums[i] - product[i]);
  }
  difference = block_sum(difference, shared);
  if (threadIdx.x == 0) {
    differences[blockIdx.x] = difference;
  }
}

__global__ void __launch_bounds__(kSumThreads)
    add_differences(const double* __restrict__ differences, int n,
                    double* __restrict__ squared_norm) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kSumThreads) {
    sum += differences[i];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *squared_norm = fmax(*squared_norm + sum, 0.0);
  }
}

// One block a bin.
__global__ void __launch_bounds__(kThreads)
    weigh_groups(const std::int32_t* __restrict__ offsets, const std::int32_t* __restrict__ entries,
                 const float* __restrict__ weights, std::int64_t bins,
                 const std::uint16_t* __restrict__ group_of, std::int64_t levels, std::int64_t rows,
                 std::int64_t per_level, float* __restrict__ out) {
  for (std::int64_t bin = blockIdx.x; bin < bins; bin += gridDim.x) {
    for (std::int64_t i = offsets[bin] + std::int64_t{threadIdx.x}; i < offsets[bin + 1];
         i += blockDim.x) {
      for (std::int64_t level = 0; level < levels; ++level) {
        const std::int64_t g = level * per_level + group_of[level * rows + entries[i]];
        atomicAdd(&out[bin * levels * per_level + g], weights[i]);
      }
    }
  }
}

template <typename T>
void project(const Context& ctx, const NearestGroups& args) {
  const std::int64_t channels = args.x.dim(-1);
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const cudaStream_t stream = stream_of(args.x);
  if (args.projection == channels) {
    copy_features<T><<<blocks_for(args.x, rows * channels), kThreads, 0, stream>>>(
        elements<T>(args.x), rows, channels, width, elements<float>(args.features));
    check_launch("copy_features");
    return;
  }
  const Tensor signs = ctx.empty({args.projection, channels}, args.x.dtype());
  draw_signs<T><<<blocks_for(signs, signs.numel()), kThreads, 0, stream>>>(
      philox_stream(args.stream), signs.numel(), elements<T>(signs));
  check_launch("draw_signs");
  gemm(args.x.device(), {.m = rows,
                         .n = args.projection,
                         .k = channels,
                         .a = matrix_of(args.x),
                         .b = matrix_of(signs, Transpose::kYes),
                         .c = matrix_of(args.features)});
}

void append_label_codes(const Context& ctx, const NearestGroups& args) {
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const cudaStream_t stream = stream_of(args.x);
  const Tensor sum_of_squares = ctx.empty({1}, DType::kF64);
  square_features<<<1, kSumThreads, 0, stream>>>(elements<float>(args.features), rows,
                                                 args.projection, width,
                                                 elements<double>(sum_of_squares));
  check_launch("square_features");
  append_codes<<<blocks_for(args.x, rows), kThreads, 0, stream>>>(
      philox_stream(args.stream), elements<std::int32_t>(args.labels), rows, args.projection, width,
      args.label_weight, elements<double>(sum_of_squares), elements<float>(args.features));
  check_launch("append_codes");
}

template <int kWidth>
void assign_narrow(const NearestGroups& args, const Tensor& group_of) {
  const std::int64_t rows = args.features.dim(0);
  constexpr std::int64_t kRowsOfBlock = kAssignThreads / kThreadsOfRow;
  const auto blocks = static_cast<unsigned>((rows + kRowsOfBlock - 1) / kRowsOfBlock);
  assign_rows<kWidth><<<blocks, kAssignThreads, 0, stream_of(args.x)>>>(
      elements<float>(args.features), rows, static_cast<int>(args.features.dim(1)),
      elements<float>(args.anchors), args.anchors.dim(0), elements<std::uint16_t>(group_of));
  check_launch("assign_rows");
}

void assign_wide(const Context& ctx, const NearestGroups& args, const Tensor& group_of) {
  constexpr std::int64_t kElementsAtOnce = 1 << 24;
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const std::int64_t groups = args.anchors.dim(0);
  const std::int64_t at_once = std::min(rows, std::max<std::int64_t>(1, kElementsAtOnce / groups));
  const Tensor half_squares = ctx.empty({groups}, DType::kF32);
  const Tensor products = ctx.empty({at_once, groups}, DType::kF32);
  const cudaStream_t stream = stream_of(args.x);
  halve_squares<<<blocks_for(args.x, groups * kWarpSize), kThreads, 0, stream>>>(
      elements<float>(args.anchors), groups, width, elements<float>(half_squares));
  check_launch("halve_squares");
  for (std::int64_t begin = 0; begin < rows; begin += at_once) {
    const std::int64_t count = std::min(at_once, rows - begin);
    gemm(args.x.device(), {.m = count,
                           .n = groups,
                           .k = width,
                           .a = matrix_of(args.features.slice(begin, begin + count)),
                           .b = matrix_of(args.anchors, Transpose::kYes),
                           .c = matrix_of(products)});
    find_largest<<<blocks_for(args.x, count * kWarpSize), kThreads, 0, stream>>>(
        elements<float>(products), count, groups, elements<float>(half_squares),
        elements<std::uint16_t>(group_of) + begin);
    check_launch("find_largest");
  }
}

void assign(const Context& ctx, const NearestGroups& args, const Tensor& group_of) {
  const std::int64_t width = args.features.dim(1);
  if (width <= 16) {
    assign_narrow<16>(args, group_of);
  } else if (width <= 32) {
    assign_narrow<32>(args, group_of);
  } else if (width <= 64) {
    assign_narrow<64>(args, group_of);
  } else {
    assign_wide(ctx, args, group_of);
  }
}

void move_anchors(const Context& ctx, const NearestGroups& args, const Tensor& group_of) {
  const std::int64_t groups = args.anchors.dim(0);
  const std::int64_t width = args.features.dim(1);
  const DeviceBins bins = group_bins(ctx, group_of.reshape({1, group_of.numel()}), groups);
  const Tensor sums = ctx.empty_like(args.anchors);
  gather_rows(ctx, {.x = args.features, .columns = width, .bins = &bins, .out = sums});
  move_to_means<<<blocks_for(sums, groups * width), kThreads, 0, stream_of(sums)>>>(
      elements<float>(sums), elements<std::int32_t>(bins.offsets), groups, width,
      elements<float>(args.anchors));
  check_launch("move_to_means");
}

void finish_means(const DeviceGroupMeans& args, const Tensor& differences, int blocks) {
  add_differences<<<1, kSumThreads, 0, stream_of(args.sums)>>>(
      elements<double>(differences), blocks, elements<double>(args.squared_norm));
  check_launch("add_differences");
}

void means_of_one_level(const Context& ctx, const DeviceGroupMeans& args) {
  const std::int64_t groups = args.sums.dim(0);
  const std::int64_t rows = args.group_of.dim(1);
  const cudaStream_t stream = stream_of(args.sums);
  const Tensor counts = ctx.zeros({groups}, DType::kF32);
  count_rows<<<blocks_for(args.sums, rows), kThreads, 0, stream>>>(
      elements<std::uint16_t>(args.group_of), rows, elements<float>(counts));
  check_launch("count_rows");
  const int blocks = blocks_for(args.sums, args.sums.numel());
  const Tensor differences = ctx.empty({blocks}, DType::kF64);
  divide_sums<<<blocks, kThreads, 0, stream>>>(elements<float>(counts), groups, args.sums.dim(1),
                                               elements<float>(args.sums),
                                               elements<double>(differences));
  check_launch("divide_sums");
  finish_means(args, differences, blocks);
}

}  // namespace

void row_groups(const Context& /*ctx*/, const LabelGroups& args) {
  group_labels<<<1, kSumThreads, 0, stream_of(args.labels)>>>(
      elements<std::int32_t>(args.labels), args.labels.numel(),
      static_cast<std::uint32_t>(args.num_groups), elements<std::uint16_t>(args.group_of));
  check_launch("group_labels");
}

void row_groups(const Context& ctx, const NearestGroups& args) {
  visit_gpu_real(args.x.dtype(), "row_groups", [&]<typename T>() { project<T>(ctx, args); });
  if (args.labels.defined()) {
    append_label_codes(ctx, args);
  }
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const std::int64_t groups = args.anchors.dim(0);
  const std::int64_t levels = args.group_of.dim(0);
  const cudaStream_t stream = stream_of(args.x);
  // Each level has anchors of its own, while there are rows enough.
  const std::int64_t num_drawn = std::min(rows, groups * levels);
  const Tensor drawn = drawn_rows(ctx, args.stream, rows, num_drawn, kAnchorWord);
  for (std::int64_t level = 0; level < levels; ++level) {
    const Tensor group_of = args.group_of.slice(level, level + 1);
    copy_anchors<<<blocks_for(args.anchors, groups * width), kThreads, 0, stream>>>(
        elements<float>(args.features), elements<std::int32_t>(drawn), num_drawn, level * groups,
        groups, width, elements<float>(args.anchors));
    check_launch("copy_anchors");
    assign(ctx, args, group_of);
    for (std::int64_t round = 0; round < args.kmeans_rounds; ++round) {
      move_anchors(ctx, args, group_of);
      assign(ctx, args, group_of);
    }
    if (level + 1 < levels) {
      move_anchors(ctx, args, group_of);
      subtract_anchors<<<blocks_for(args.features, rows * width), kThreads, 0, stream>>>(
          elements<float>(args.anchors), elements<std::uint16_t>(group_of), rows, width,
          elements<float>(args.features));
      check_launch("subtract_anchors");
    }
  }
}

// The levels of one sweep follow each other; groups of one level share no rows, so a level is one
// product: mu_g += (sum_g - sum over all groups h of shared(g, h) mu_h) / rows of g.
void row_groups(const Context& ctx, const DeviceGroupMeans& args) {
  const std::int64_t levels = args.group_of.dim(0);
  if (levels == 1) {
    means_of_one_level(ctx, args);
    return;
  }
  const std::int64_t groups = args.sums.dim(0);
  const std::int64_t columns = args.sums.dim(1);
  const std::int64_t per_level = groups / levels;
  const cudaStream_t stream = stream_of(args.sums);
  const Tensor shared_rows = ctx.zeros({groups, groups}, DType::kF32);
  count_shared_rows<<<blocks_for(args.sums, args.group_of.numel()), kThreads, 0, stream>>>(
      elements<std::uint16_t>(args.group_of), levels, args.group_of.dim(1), per_level,
      elements<float>(shared_rows));
  check_launch("count_shared_rows");
  const Tensor mu = ctx.zeros(args.sums.shape(), DType::kF32);
  const Tensor product = ctx.empty_like(mu);
  const auto multiply = [&](std::int64_t begin, std::int64_t end) {
    gemm(args.sums.device(), {.m = end - begin,
                              .n = columns,
                              .k = groups,
                              .a = matrix_of(shared_rows.slice(begin, end)),
                              .b = matrix_of(mu),
                              .c = matrix_of(product.slice(begin, end))});
  };
  for (std::int64_t sweep = 0; sweep < args.sweeps; ++sweep) {
    for (std::int64_t level = 0; level < levels; ++level) {
      const std::int64_t begin = level * per_level;
      multiply(begin, begin + per_level);
      correct_means<<<blocks_for(mu, per_level * columns), kThreads, 0, stream>>>(
          elements<float>(args.sums) + begin * columns, elements<float>(product) + begin * columns,
          elements<float>(shared_rows) + begin * groups + begin, groups + 1, per_level, columns,
          elements<float>(mu) + begin * columns);
      check_launch("correct_means");
    }
  }
  multiply(0, groups);
  const int blocks = blocks_for(mu, mu.numel());
  const Tensor differences = ctx.empty({blocks}, DType::kF64);
  compare_means<<<blocks, kThreads, 0, stream>>>(elements<float>(args.sums),
                                                 elements<float>(product), elements<float>(mu),
                                                 mu.numel(), elements<double>(differences));
  check_launch("compare_means");
  finish_means(args, differences, blocks);
  copy(args.sums, mu);
}

void row_groups(const Context& /*ctx*/, const GroupWeights& args) {
  const DeviceBins& bins = *args.bins;
  const std::int64_t levels = args.group_of.dim(0);
  fill_zero(args.out);
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(bins.num_bins(), 1 << 16));
  weigh_groups<<<blocks, kThreads, 0, stream_of(args.out)>>>(
      elements<std::int32_t>(bins.offsets), elements<std::int32_t>(bins.rows),
      elements<float>(bins.weights), bins.num_bins(), elements<std::uint16_t>(args.group_of),
      levels, args.group_of.dim(1), args.out.dim(1) / levels, elements<float>(args.out));
  check_launch("weigh_groups");
}

}  // namespace ghost::cuda
