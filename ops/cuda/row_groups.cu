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
#include "ops/row_groups_kernels.h"

namespace ghost::cuda {
namespace {

constexpr int kSumThreads = 1024;

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

/// Adds the parts of a difference of squares up, into the squared norm where one is wanted.
void finish_squared_norm(const DeviceGroupMeans& args, const Tensor& differences) {
  if (!args.squared_norm.defined()) {
    return;
  }
  add_differences<<<1, kSumThreads, 0, stream_of(args.sums)>>>(
      elements<double>(differences), static_cast<int>(differences.numel()),
      elements<double>(args.squared_norm));
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
  finish_squared_norm(args, differences);
}

}  // namespace

void row_groups(const Context& /*ctx*/, const LabelGroups& args) {
  group_labels<<<1, kSumThreads, 0, stream_of(args.labels)>>>(
      elements<std::int32_t>(args.labels), args.labels.numel(),
      static_cast<std::uint32_t>(args.num_groups), elements<std::uint16_t>(args.group_of));
  check_launch("group_labels");
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
  if (args.squared_norm.defined()) {
    multiply(0, groups);
    const int blocks = blocks_for(mu, mu.numel());
    const Tensor differences = ctx.empty({blocks}, DType::kF64);
    compare_means<<<blocks, kThreads, 0, stream>>>(elements<float>(args.sums),
                                                   elements<float>(product), elements<float>(mu),
                                                   mu.numel(), elements<double>(differences));
    check_launch("compare_means");
    finish_squared_norm(args, differences);
  }
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
