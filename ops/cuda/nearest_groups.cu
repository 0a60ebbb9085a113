#include <algorithm>
#include <cstdint>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/random/cuda/philox.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/gemm.h"
#include "ops/row_bins_kernels.h"
#include "ops/row_groups_kernels.h"

// The CPU's algorithm, ops/cpu/nearest_groups.cpp: one thread a column of the products.

namespace ghost::cuda {
namespace {

constexpr int kSumThreads = 1024;

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

template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_rows(const T* __restrict__ from, const std::int32_t* __restrict__ rows, std::int64_t n,
              std::int64_t width, T* __restrict__ to) {
  for (std::int64_t i = first_index(); i < n * width; i += index_stride()) {
    to[i] = from[rows[i / width] * width + i % width];
  }
}

// Samples enough: each level begins with its own as codewords.
__global__ void __launch_bounds__(kThreads)
    first_codewords(std::int64_t level, std::int64_t groups, std::int64_t samples,
                    std::int32_t* __restrict__ codeword_of) {
  for (std::int64_t i = first_index(); i < samples; i += index_stride()) {
    const std::int64_t past = (i + samples - level * groups % samples) % samples;
    codeword_of[i] = past < groups ? static_cast<std::int32_t>(past) : -1;
  }
}

__global__ void __launch_bounds__(kThreads)
    move_codewords(const std::uint16_t* __restrict__ nearest, std::int64_t samples,
                   std::int32_t* __restrict__ codeword_of) {
  for (std::int64_t i = first_index(); i < samples; i += index_stride()) {
    codeword_of[i] = nearest[i];
  }
}

// One warp a codeword: share = 1 / samples of it, 0 without any.
__global__ void __launch_bounds__(kThreads)
    count_samples(const std::int32_t* __restrict__ codeword_of, std::int64_t samples,
                  std::int64_t groups, float* __restrict__ share) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  for (std::int64_t g = first_index() / kWarpSize; g < groups; g += index_stride() / kWarpSize) {
    float count = 0.0F;
    for (std::int64_t i = lane; i < samples; i += kWarpSize) {
      count += codeword_of[i] == g ? 1.0F : 0.0F;
    }
    count = warp_sum(count);
    if (lane == 0) {
      share[g] = count > 0.0F ? 1.0F / count : 0.0F;
    }
  }
}

// with[g, i] = codeword g . column i, from products[sample, i]. Both are `stride` wide.
__global__ void __launch_bounds__(kThreads)
    multiply_codewords(const float* __restrict__ products, std::int64_t samples,
                       std::int64_t columns, std::int64_t stride,
                       const std::int32_t* __restrict__ codeword_of,
                       const float* __restrict__ share, std::int64_t groups,
                       float* __restrict__ with) {
  for (std::int64_t i = first_index(); i < columns; i += index_stride()) {
    for (std::int64_t g = 0; g < groups; ++g) {
      with[g * stride + i] = 0.0F;
    }
    for (std::int64_t s = 0; s < samples; ++s) {
      const std::int32_t g = codeword_of[s];
      if (g >= 0) {
        with[g * stride + i] += products[s * stride + i];
      }
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      with[g * stride + i] *= share[g];
    }
  }
}

// One warp a codeword: |codeword|^2 / 2, infinite without samples.
__global__ void __launch_bounds__(kThreads)
    halve_squares(const float* __restrict__ with, const std::int32_t* __restrict__ codeword_of,
                  const float* __restrict__ share, std::int64_t samples, std::int64_t groups,
                  float* __restrict__ half_square) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  for (std::int64_t g = first_index() / kWarpSize; g < groups; g += index_stride() / kWarpSize) {
    float sum = 0.0F;
    for (std::int64_t s = lane; s < samples; s += kWarpSize) {
      sum += codeword_of[s] == g ? with[g * samples + s] : 0.0F;
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      half_square[g] = share[g] > 0.0F ? sum * share[g] / 2 : INFINITY;
    }
  }
}

// One warp a sample: |sample|^2 / 2.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    halve_sample_squares(const T* __restrict__ sample, std::int64_t samples, std::int64_t width,
                         float* __restrict__ half_square) {
  const std::int64_t lane = threadIdx.x % kWarpSize;
  for (std::int64_t s = first_index() / kWarpSize; s < samples; s += index_stride() / kWarpSize) {
    float sum = 0.0F;
    for (std::int64_t k = lane; k < width; k += kWarpSize) {
      const float value = to_float(sample[s * width + k]);
      sum += value * value;
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      half_square[s] = sum / 2;
    }
  }
}

// The first of the largest with[g, i] - half_square[g]; NaN finds codeword 0: the loss will tell.
__global__ void __launch_bounds__(kThreads)
    find_nearest(const float* __restrict__ with, std::int64_t columns, std::int64_t stride,
                 const float* __restrict__ half_square, std::int64_t groups,
                 std::uint16_t* __restrict__ nearest) {
  for (std::int64_t i = first_index(); i < columns; i += index_stride()) {
    float best = -INFINITY;
    std::int64_t found = 0;
    for (std::int64_t g = 0; g < groups; ++g) {
      const float score = with[g * stride + i] - half_square[g];
      if (score > best) {
        best = score;
        found = g;
      }
    }
    nearest[i] = static_cast<std::uint16_t>(found);
  }
}

// between[g, h] = codeword g . codeword h
__global__ void __launch_bounds__(kThreads)
    multiply_codeword_pairs(const float* __restrict__ with,
                            const std::int32_t* __restrict__ codeword_of,
                            const float* __restrict__ share, std::int64_t samples,
                            std::int64_t groups, float* __restrict__ between) {
  for (std::int64_t i = first_index(); i < groups * groups; i += index_stride()) {
    const std::int64_t g = i / groups;
    const std::int64_t h = i % groups;
    float sum = 0.0F;
    for (std::int64_t s = 0; s < samples; ++s) {
      sum += codeword_of[s] == h ? with[g * samples + s] : 0.0F;
    }
    between[i] = sum * share[h];
  }
}

// loss[sample, g] = (sample - its codeword) . codeword g
__global__ void __launch_bounds__(kThreads)
    find_losses(const float* __restrict__ with, const float* __restrict__ between,
                const std::uint16_t* __restrict__ nearest, std::int64_t samples,
                std::int64_t groups, float* __restrict__ loss) {
  for (std::int64_t i = first_index(); i < samples * groups; i += index_stride()) {
    const std::int64_t s = i / groups;
    const std::int64_t g = i % groups;
    loss[i] = with[g * samples + s] - between[g * groups + nearest[s]];
  }
}

// Columns and samples lose their codewords: (z - w).(s - v) = z.s - z.v - (w.s - w.v)
__global__ void __launch_bounds__(kThreads)
    subtract_codewords(const float* __restrict__ with, const float* __restrict__ loss,
                       const std::uint16_t* __restrict__ nearest_to_sample,
                       const std::uint16_t* __restrict__ nearest_to_column, std::int64_t samples,
                       std::int64_t columns, std::int64_t stride, std::int64_t groups,
                       float* __restrict__ products) {
  for (std::int64_t at = first_index(); at < samples * columns; at += index_stride()) {
    const std::int64_t s = at / columns;
    const std::int64_t i = at % columns;
    products[s * stride + i] -= with[std::int64_t{nearest_to_sample[s]} * stride + i] +
                                loss[s * groups + nearest_to_column[i]];
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

/// The codewords of all levels, as the CPU's Codebook of each.
struct Codebooks {
  Tensor codeword_of;  // [levels, samples] i32
  Tensor share;        // [levels, groups] f32
  Tensor half_square;  // [levels, groups] f32
  Tensor nearest;      // [levels, samples] u16
  Tensor loss;         // [levels - 1, samples, groups] f32
};

struct Sizes {
  std::int64_t rows;
  std::int64_t samples;
  std::int64_t levels;
  std::int64_t groups;

  explicit Sizes(const NearestGroups& args)
      : rows(args.group_of.dim(1)),
        samples(args.sample.dim(0)),
        levels(args.group_of.dim(0)),
        groups(args.groups_of_level) {}
};

template <typename T>
void draw_samples(const Context& ctx, const NearestGroups& args, const Tensor& compared) {
  const std::int64_t samples = args.sample.dim(0);
  const std::int64_t width = args.sample.dim(1);
  const Tensor drawn = drawn_rows(ctx, args.stream, compared.numel() / width, samples, kSampleWord);
  copy_rows<T><<<blocks_for(args.sample, samples * width), kThreads, 0, stream_of(args.sample)>>>(
      elements<T>(compared), elements<std::int32_t>(drawn), samples, width,
      elements<T>(args.sample));
  check_launch("copy_rows");
}

// From the samples of a level's codewords to every sample's nearest one.
void assign_samples(const NearestGroups& args, const Codebooks& books, std::int64_t level,
                    const Tensor& with) {
  const Sizes n(args);
  const cudaStream_t stream = stream_of(args.x);
  const auto* codeword_of = elements<std::int32_t>(books.codeword_of) + level * n.samples;
  auto* share = elements<float>(books.share) + level * n.groups;
  auto* half_square = elements<float>(books.half_square) + level * n.groups;
  const int blocks_of_warps = blocks_for(args.x, n.groups * kWarpSize);
  const int blocks_of_samples = blocks_for(args.x, n.samples);
  count_samples<<<blocks_of_warps, kThreads, 0, stream>>>(codeword_of, n.samples, n.groups, share);
  check_launch("count_samples");
  multiply_codewords<<<blocks_of_samples, kThreads, 0, stream>>>(
      elements<float>(args.gram), n.samples, n.samples, n.samples, codeword_of, share, n.groups,
      elements<float>(with));
  check_launch("multiply_codewords");
  halve_squares<<<blocks_of_warps, kThreads, 0, stream>>>(elements<float>(with), codeword_of, share,
                                                          n.samples, n.groups, half_square);
  check_launch("halve_squares");
  find_nearest<<<blocks_of_samples, kThreads, 0, stream>>>(
      elements<float>(with), n.samples, n.samples, half_square, n.groups,
      elements<std::uint16_t>(books.nearest) + level * n.samples);
  check_launch("find_nearest");
}

void train_level(const Context& ctx, const NearestGroups& args, const Codebooks& books,
                 std::int64_t level, const Tensor& with) {
  const Sizes n(args);
  const cudaStream_t stream = stream_of(args.x);
  const int blocks = blocks_for(args.x, n.samples);
  auto* codeword_of = elements<std::int32_t>(books.codeword_of) + level * n.samples;
  const auto* nearest = elements<std::uint16_t>(books.nearest) + level * n.samples;
  first_codewords<<<blocks, kThreads, 0, stream>>>(level, n.groups, n.samples, codeword_of);
  check_launch("first_codewords");
  assign_samples(args, books, level, with);
  for (std::int64_t round = 0; round < args.kmeans_rounds; ++round) {
    move_codewords<<<blocks, kThreads, 0, stream>>>(nearest, n.samples, codeword_of);
    check_launch("move_codewords");
    assign_samples(args, books, level, with);
  }
  if (level + 1 == n.levels) {
    return;
  }
  const Tensor between = ctx.empty({n.groups, n.groups}, DType::kF32);
  auto* loss = elements<float>(books.loss) + level * n.samples * n.groups;
  multiply_codeword_pairs<<<blocks_for(args.x, between.numel()), kThreads, 0, stream>>>(
      elements<float>(with), codeword_of, elements<float>(books.share) + level * n.groups,
      n.samples, n.groups, elements<float>(between));
  check_launch("multiply_codeword_pairs");
  find_losses<<<blocks_for(args.x, n.samples * n.groups), kThreads, 0, stream>>>(
      elements<float>(with), elements<float>(between), nearest, n.samples, n.groups, loss);
  check_launch("find_losses");
  subtract_codewords<<<blocks_for(args.x, n.samples * n.samples), kThreads, 0, stream>>>(
      elements<float>(with), loss, nearest, nearest, n.samples, n.samples, n.samples, n.groups,
      elements<float>(args.gram));
  check_launch("subtract_codewords");
}

Codebooks train(const Context& ctx, const NearestGroups& args) {
  const Sizes n(args);
  const Codebooks books{.codeword_of = ctx.empty({n.levels, n.samples}, DType::kI32),
                        .share = ctx.empty({n.levels, n.groups}, DType::kF32),
                        .half_square = ctx.empty({n.levels, n.groups}, DType::kF32),
                        .nearest = ctx.empty({n.levels, n.samples}, DType::kU16),
                        .loss = n.levels > 1
                                    ? ctx.empty({n.levels - 1, n.samples, n.groups}, DType::kF32)
                                    : Tensor{}};
  gemm(args.x.device(), {.m = n.samples,
                         .n = n.samples,
                         .k = args.sample.dim(1),
                         .a = matrix_of(args.sample),
                         .b = matrix_of(args.sample, Transpose::kYes),
                         .c = matrix_of(args.gram)});
  const Tensor with = ctx.empty({n.groups, n.samples}, DType::kF32);
  for (std::int64_t level = 0; level < n.levels; ++level) {
    train_level(ctx, args, books, level, with);
  }
  return books;
}

/// Calls work(first, count) with args.products holding the samples' products with rows
/// [first, first + count).
template <typename Work>
void for_each_chunk(const NearestGroups& args, const Tensor& compared, const Work& work) {
  const std::int64_t width = args.sample.dim(1);
  const std::int64_t rows = compared.numel() / width;
  const std::int64_t at_once = args.products.dim(1);
  for (std::int64_t first = 0; first < rows; first += at_once) {
    const std::int64_t count = std::min(at_once, rows - first);
    gemm(args.x.device(),
         {.m = args.sample.dim(0),
          .n = count,
          .k = width,
          .a = matrix_of(args.sample),
          .b = matrix_of(compared.reshape({rows, width}).slice(first, first + count),
                         Transpose::kYes),
          .c = matrix_of(args.products)});
    work(first, count);
  }
}

void encode(const Context& ctx, const NearestGroups& args, const Tensor& compared,
            const Codebooks& books) {
  const Sizes n(args);
  const cudaStream_t stream = stream_of(args.x);
  const std::int64_t stride = args.products.dim(1);
  const Tensor with = ctx.empty({n.groups, stride}, DType::kF32);
  for_each_chunk(args, compared, [&](std::int64_t first, std::int64_t count) {
    const int blocks = blocks_for(args.x, count);
    for (std::int64_t level = 0; level < n.levels; ++level) {
      auto* group_of = elements<std::uint16_t>(args.group_of) + level * n.rows + first;
      multiply_codewords<<<blocks, kThreads, 0, stream>>>(
          elements<float>(args.products), n.samples, count, stride,
          elements<std::int32_t>(books.codeword_of) + level * n.samples,
          elements<float>(books.share) + level * n.groups, n.groups, elements<float>(with));
      check_launch("multiply_codewords");
      find_nearest<<<blocks, kThreads, 0, stream>>>(
          elements<float>(with), count, stride,
          elements<float>(books.half_square) + level * n.groups, n.groups, group_of);
      check_launch("find_nearest");
      if (level + 1 < n.levels) {
        subtract_codewords<<<blocks_for(args.x, n.samples * count), kThreads, 0, stream>>>(
            elements<float>(with), elements<float>(books.loss) + level * n.samples * n.groups,
            elements<std::uint16_t>(books.nearest) + level * n.samples, group_of, n.samples, count,
            stride, n.groups, elements<float>(args.products));
        check_launch("subtract_codewords");
      }
    }
  });
}

// One level whose codewords are the samples themselves: only their lengths matter.
template <typename T>
void encode_by_samples(const Context& ctx, const NearestGroups& args, const Tensor& compared) {
  const std::int64_t samples = args.sample.dim(0);
  const cudaStream_t stream = stream_of(args.x);
  const Tensor half_square = ctx.empty({samples}, DType::kF32);
  halve_sample_squares<T><<<blocks_for(args.x, samples * kWarpSize), kThreads, 0, stream>>>(
      elements<T>(args.sample), samples, args.sample.dim(1), elements<float>(half_square));
  check_launch("halve_sample_squares");
  for_each_chunk(args, compared, [&](std::int64_t first, std::int64_t count) {
    find_nearest<<<blocks_for(args.x, count), kThreads, 0, stream>>>(
        elements<float>(args.products), count, args.products.dim(1), elements<float>(half_square),
        samples, elements<std::uint16_t>(args.group_of) + first);
    check_launch("find_nearest");
  });
}

}  // namespace

void row_groups(const Context& ctx, const NearestGroups& args) {
  if (args.features.defined()) {
    visit_gpu_real(args.x.dtype(), "row_groups", [&]<typename T>() { project<T>(ctx, args); });
  }
  if (args.labels.defined()) {
    append_label_codes(ctx, args);
  }
  const Tensor& compared = args.features.defined() ? args.features : args.x;
  visit_gpu_real(compared.dtype(), "row_groups", [&]<typename T>() {
    draw_samples<T>(ctx, args, compared);
    if (args.gram.defined()) {
      encode(ctx, args, compared, train(ctx, args));
    } else {
      encode_by_samples<T>(ctx, args, compared);
    }
  });
}

}  // namespace ghost::cuda
