#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/optim/optim_kernels.h"

namespace ghost::cuda {
namespace {

// 16 bytes a thread, squared and added in f64. Traffic: x once.
// Launch: kSumOfSquaresBlocks blocks on every device.
__global__ void __launch_bounds__(kThreads)
    sum_squares_of_part(const float* __restrict__ x, double* __restrict__ partial, std::int64_t n,
                        bool is_aligned) {
  constexpr int kLanes = 4;
  __shared__ double shared[kWarpSize];
  double sums[kLanes] = {};
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float values[kLanes];
    load_lanes<kLanes>(x + i, n - i, is_aligned, values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(values[lane]);
      sums[lane] += value * value;
    }
  });
  const double total = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), shared);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = total;
  }
}

// Launch: one block.
__global__ void __launch_bounds__(kThreads)
    add_squares_of_parts(const double* __restrict__ partial, double* __restrict__ sum) {
  __shared__ double shared[kWarpSize];
  double total = 0;
  for (std::int64_t part = threadIdx.x; part < kSumOfSquaresBlocks; part += kThreads) {
    total += partial[part];
  }
  total = block_sum(total, shared);
  if (threadIdx.x == 0) {
    *sum = total;
  }
}

// A handful of numbers: one thread, in their order. Losses are f32 or f64.
template <typename T>
__global__ void combine_step_numbers(const T* __restrict__ losses, std::int64_t num_losses,
                                     const double* __restrict__ sums, std::int64_t num_groups,
                                     double max_norm, double* __restrict__ numbers) {
  double loss = 0;
  for (std::int64_t i = 0; i < num_losses; ++i) {
    loss += static_cast<double>(losses[i]);
  }
  loss /= static_cast<double>(num_losses);
  double sum_sq = 0;
  for (std::int64_t i = 0; i < num_groups; ++i) {
    sum_sq += sums[i];
  }
  const double norm = sqrt(sum_sq);
  double factor = 1;
  if (max_norm != 0) {
    const double share = max_norm / (norm + 1e-6);
    factor = share < 1 ? share : 1;
  }
  if (!isfinite(loss) || !isfinite(norm)) {
    factor = nan("");
  }
  numbers[0] = loss;
  numbers[1] = norm;
  numbers[2] = factor;
}

}  // namespace

void sum_of_squares(const SumOfSquares& args) {
  GHOST_CHECK(args.x.dtype() == DType::kF32, "sum_of_squares: x is {}; expected f32 on a GPU",
              dtype_name(args.x.dtype()));
  sum_squares_of_part<<<kSumOfSquaresBlocks, kThreads, 0, stream_of(args.x)>>>(
      elements<float>(args.x), elements<double>(args.partial), args.x.numel(),
      are_aligned(args.x.raw()));
  check_launch("sum_squares_of_part");
  add_squares_of_parts<<<1, kThreads, 0, stream_of(args.x)>>>(elements<double>(args.partial),
                                                              elements<double>(args.sum));
  check_launch("add_squares_of_parts");
}

void step_numbers(const StepNumbersArgs& args) {
  const auto launch = [&]<typename T>(const T* losses) {
    combine_step_numbers<T><<<1, 1, 0, stream_of(args.numbers)>>>(
        losses, args.losses.numel(), elements<double>(args.sums), args.sums.numel(), args.max_norm,
        elements<double>(args.numbers));
  };
  if (args.losses.dtype() == DType::kF64) {
    launch(elements<double>(args.losses));
  } else {
    launch(elements<float>(args.losses));
  }
  check_launch("combine_step_numbers");
}

}  // namespace ghost::cuda
