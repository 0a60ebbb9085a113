#include <algorithm>
#include <cstdint>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/random/cuda/philox.cuh"
#include "engine/tensor/primitives.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/gemm.h"
#include "ops/gather_rows_kernels.h"
#include "ops/row_bins_kernels.h"
#include "ops/row_groups_kernels.h"

// The CPU's algorithm, ops/cpu/nearest_groups.cpp; the products lie row by row.

namespace ghost::cuda {
namespace {

constexpr int kSumThreads = 1024;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_features(const T* __restrict__ x, std::int64_t stride, std::int64_t rows,
                  std::int64_t channels, std::int64_t width, float* __restrict__ features) {
  for (std::int64_t i = first_index(); i < rows * channels; i += index_stride()) {
    features[i / channels * width + i % channels] =
        to_float(x[i / channels * stride + i % channels]);
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

template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_rows(const T* __restrict__ from, std::int64_t stride,
              const std::int32_t* __restrict__ rows, std::int64_t n, std::int64_t width,
              float* __restrict__ to) {
  for (std::int64_t i = first_index(); i < n * width; i += index_stride()) {
    to[i] = to_float(from[rows[i / width] * stride + i % width]);
  }
}

// One block a codeword: the mean of the samples nearest to it; without any it stays.
__global__ void __launch_bounds__(kThreads)
    move_codewords(const float* __restrict__ sample, const std::uint16_t* __restrict__ nearest,
                   std::int64_t samples, std::int64_t width, float* __restrict__ codewords) {
  const std::int64_t g = blockIdx.x;
  for (std::int64_t k = threadIdx.x; k < width; k += blockDim.x) {
    float sum = 0.0F;
    float count = 0.0F;
    for (std::int64_t s = 0; s < samples; ++s) {
      if (nearest[s] == g) {
        sum += sample[s * width + k];
        count += 1.0F;
      }
    }
    if (count > 0.0F) {
      codewords[g * width + k] = sum / count;
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    subtract_codewords(const float* __restrict__ codewords,
                       const std::uint16_t* __restrict__ nearest, std::int64_t samples,
                       std::int64_t width, float* __restrict__ sample) {
  for (std::int64_t i = first_index(); i < samples * width; i += index_stride()) {
    sample[i] -= codewords[nearest[i / width] * width + i % width];
  }
}

/// The lane with the largest score, the first of equal ones, in every lane; NaN find the first.
__device__ __forceinline__ int first_of_largest(float score, int index) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other_score = __shfl_xor_sync(kFullWarp, score, offset);
    const int other = __shfl_xor_sync(kFullWarp, index, offset);
    if (other_score > score || (other_score == score && other < index)) {
      score = other_score;
      index = other;
    }
  }
  return index;
}

// One warp a row; a lane has every 32nd codeword. products [rows, levels * groups] lose
// |codeword|^2 / 2 and, level after level, what the row's codeword has with the later ones.
__global__ void __launch_bounds__(kThreads)
    assign_rows(const float* __restrict__ gram, std::int64_t levels, std::int64_t groups,
                std::int64_t rows, std::int64_t level_stride, float* __restrict__ products,
                std::uint16_t* __restrict__ group_of) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  const std::int64_t size = levels * groups;
  for (std::int64_t row = first_index() / kWarpSize; row < rows;
       row += index_stride() / kWarpSize) {
    float* scores = products + row * size;
    for (std::int64_t g = lane; g < size; g += kWarpSize) {
      scores[g] -= gram[g * size + g] / 2;
    }
    const float* loss = nullptr;
    for (std::int64_t level = 0; level < levels; ++level) {
      const std::int64_t begin = level * groups;
      float best = -INFINITY;
      int found = 0;
      // Codewords of this lane from here on; those of earlier levels are done with.
      for (std::int64_t g = begin + (lane - begin % kWarpSize + kWarpSize) % kWarpSize; g < size;
           g += kWarpSize) {
        if (loss != nullptr) {
          scores[g] -= loss[g];
        }
        if (g < begin + groups && scores[g] > best) {
          best = scores[g];
          found = static_cast<int>(g - begin);
        }
      }
      const std::int64_t nearest = first_of_largest(best, found);
      if (lane == 0) {
        group_of[level * level_stride + row] = static_cast<std::uint16_t>(nearest);
      }
      loss = gram + (begin + nearest) * size;
    }
  }
}

template <typename T>
void project(const Context& ctx, const NearestGroupsOfBlock& args) {
  const std::int64_t channels = args.channels;
  const std::int64_t rows = args.features.dim(0);
  const std::int64_t width = args.features.dim(1);
  const cudaStream_t stream = stream_of(args.x);
  if (args.projection == channels) {
    copy_features<T><<<blocks_for(args.x, rows * channels), kThreads, 0, stream>>>(
        elements<T>(args.x) + args.first_column, args.x.dim(1), rows, channels, width,
        elements<float>(args.features));
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
                         .a = matrix_of(args.x, args.first_column),
                         .b = matrix_of(signs, Transpose::kYes),
                         .c = matrix_of(args.features)});
}

void append_label_codes(const Context& ctx, const NearestGroupsOfBlock& args) {
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

/// Columns [first_column, first_column + W) of x [n, N] to the nearest of some levels of codewords
/// [levels * groups, W] f32: group_of[level * n + row].
void assign(const Context& ctx, const Tensor& x, std::int64_t first_column, const Tensor& codewords,
            std::int64_t levels, const Tensor& products, std::uint16_t* group_of) {
  const std::int64_t rows = x.dim(0);
  const std::int64_t size = codewords.dim(0);
  const std::int64_t width = codewords.dim(1);
  Tensor operand = codewords;
  if (x.dtype() != codewords.dtype()) {
    operand = ctx.empty(codewords.shape(), x.dtype());
    cast(operand, codewords);
  }
  const Tensor gram = ctx.empty({size, size}, DType::kF32);
  gemm(x.device(), {.m = size,
                    .n = size,
                    .k = width,
                    .a = matrix_of(operand),
                    .b = matrix_of(operand, Transpose::kYes),
                    .c = matrix_of(gram)});
  Matrix scores = matrix_of(products);
  scores.stride = size;
  const std::int64_t at_once = products.numel() / size;
  for (std::int64_t first = 0; first < rows; first += at_once) {
    const std::int64_t count = std::min(at_once, rows - first);
    gemm(x.device(), {.m = count,
                      .n = size,
                      .k = width,
                      .a = matrix_of(x.slice(first, first + count), first_column),
                      .b = matrix_of(operand, Transpose::kYes),
                      .c = scores});
    assign_rows<<<blocks_for(x, count * kWarpSize), kThreads, 0, stream_of(x)>>>(
        elements<float>(gram), levels, size / levels, count, rows, elements<float>(products),
        group_of + first);
    check_launch("assign_rows");
  }
}

// The codewords of one level after the other; the samples lose theirs on the way.
void train(const Context& ctx, const NearestGroupsOfBlock& args) {
  const std::int64_t samples = args.sample.dim(0);
  const std::int64_t width = args.sample.dim(1);
  const std::int64_t groups = args.groups_of_level;
  const std::int64_t levels = args.group_of.dim(0);
  const cudaStream_t stream = stream_of(args.x);
  const Tensor nearest = ctx.empty({samples}, DType::kU16);
  auto* nearest_to = elements<std::uint16_t>(nearest);
  for (std::int64_t level = 0; level < levels; ++level) {
    const Tensor codewords = args.codewords.slice(level * groups, (level + 1) * groups);
    copy(codewords, args.sample.slice(level * groups, (level + 1) * groups));
    const auto assign_samples = [&] {
      assign(ctx, args.sample, /*first_column=*/0, codewords, /*levels=*/1, args.products,
             nearest_to);
    };
    for (std::int64_t round = 0; round < args.kmeans_rounds; ++round) {
      assign_samples();
      move_codewords<<<static_cast<unsigned>(groups), kThreads, 0, stream>>>(
          elements<float>(args.sample), nearest_to, samples, width, elements<float>(codewords));
      check_launch("move_codewords");
    }
    if (level + 1 < levels) {
      assign_samples();
      subtract_codewords<<<blocks_for(args.x, samples * width), kThreads, 0, stream>>>(
          elements<float>(codewords), nearest_to, samples, width, elements<float>(args.sample));
      check_launch("subtract_codewords");
    }
  }
}

void form_groups_of_block(const Context& ctx, const NearestGroupsOfBlock& args) {
  if (args.features.defined()) {
    visit_gpu_real(args.x.dtype(), "row_groups", [&]<typename T>() { project<T>(ctx, args); });
  }
  if (args.labels.defined()) {
    append_label_codes(ctx, args);
  }
  const Tensor& compared = args.compared();
  visit_gpu_real(compared.dtype(), "row_groups", [&]<typename T>() {
    copy_rows<T>
        <<<blocks_for(args.sample, args.sample.numel()), kThreads, 0, stream_of(args.sample)>>>(
            elements<T>(compared) + args.compared_column(), compared.dim(1),
            elements<std::int32_t>(args.drawn), args.sample.dim(0), args.sample.dim(1),
            elements<float>(args.sample));
    check_launch("copy_rows");
  });
  train(ctx, args);
  const auto assign_all = [&] {
    assign(ctx, compared, args.compared_column(), args.codewords, args.group_of.dim(0),
           args.products, elements<std::uint16_t>(args.group_of));
  };
  assign_all();
  for (std::int64_t refit = 0; refit < args.refits; ++refit) {
    const DeviceBins bins = group_bins(ctx, args.group_of, args.groups_of_level);
    gather_rows(ctx, DeviceGatherRows{.x = compared,
                                      .first_column = args.compared_column(),
                                      .columns = args.codewords.dim(1),
                                      .bins = &bins,
                                      .out = args.codewords});
    row_groups(ctx,
               DeviceGroupMeans{.sums = args.codewords, .group_of = args.group_of, .sweeps = 1});
    assign_all();
  }
}

}  // namespace

void row_groups(const Context& ctx, const NearestGroups& args) {
  for (std::int64_t block = 0; block < args.group_of.dim(0); ++block) {
    form_groups_of_block(ctx, NearestGroupsOfBlock(args, block));
  }
}

}  // namespace ghost::cuda
