#include <algorithm>
#include <cmath>

#include "engine/device/cuda/stream.h"
#include "ops/cuda/common/channel_run.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/rope_kernels.h"

namespace ghost::cuda {
namespace {

constexpr std::int64_t kMostPairs = 1024;

/// Where the channels of a row are, and which of them turn.
struct RowShape {
  std::int64_t width;  // heads * head_dim
  int head_dim;
  int rotated_heads;
  int pairs;  // of a head that turn; its channels behind them pass
};

// kRun neighbouring channels of a row from `at` on, which lie in one head and turn or pass
// together. Every channel computes its own output and reads its partner beside it, from cache:
//   first of a pair: a cos - b sin,   second: b cos + a sin
template <RopePairs kPairs, typename T, int kRun>
__device__ __forceinline__ void turn_run(const T* x, T* y, const float* cos, const float* sin,
                                         const RowShape& shape, std::int64_t at) {
  const int channel = static_cast<int>(at % shape.head_dim);
  float own[kRun];
  load_run(x + at, own);
  if (at / shape.head_dim < shape.rotated_heads && channel < 2 * shape.pairs) {
    float partner[kRun];
    if constexpr (kPairs == RopePairs::kHalves) {
      const bool is_first = channel < shape.pairs;
      load_run(x + at + (is_first ? shape.pairs : -shape.pairs), partner);
      const int pair = is_first ? channel : channel - shape.pairs;
      const float sign = is_first ? -1.0F : 1.0F;
#pragma unroll
      for (int lane = 0; lane < kRun; ++lane) {
        own[lane] = own[lane] * cos[pair + lane] + sign * partner[lane] * sin[pair + lane];
      }
    } else if constexpr (kRun == 1) {
      const bool is_first = channel % 2 == 0;
      load_run(x + at + (is_first ? 1 : -1), partner);
      const float sign = is_first ? -1.0F : 1.0F;
      own[0] = own[0] * cos[channel / 2] + sign * partner[0] * sin[channel / 2];
    } else {
#pragma unroll
      for (int lane = 0; lane < kRun; lane += 2) {
        const float a = own[lane];
        const float b = own[lane + 1];
        const int pair = (channel + lane) / 2;
        own[lane] = a * cos[pair] - b * sin[pair];
        own[lane + 1] = b * cos[pair] + a * sin[pair];
      }
    }
  }
  store_run(y + at, own);
}

// A block has a position: it computes the position's angles once, in f64, and turns all rows at it,
// every gridDim.y-th of n. Traffic: x and y once (partners come from cache).
// Launch: gridDim = (T, rows side by side).
template <RopePairs kPairs, typename T, int kRun>
__global__ void __launch_bounds__(kThreads)
    turn_rows(const T* __restrict__ x, T* __restrict__ y, std::int64_t n, std::int64_t seq_len,
              RowShape shape, std::int64_t start, double log2_base, double direction) {
  __shared__ float cos[kMostPairs];
  __shared__ float sin[kMostPairs];
  const std::int64_t t = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < shape.pairs; i += kThreads) {
    const double frequency = exp2(-log2_base * i / shape.pairs);
    double sine = 0;
    double cosine = 0;
    sincos(static_cast<double>(start + t) * frequency, &sine, &cosine);
    cos[i] = static_cast<float>(cosine);
    sin[i] = static_cast<float>(direction * sine);
  }
  __syncthreads();
  for (std::int64_t b = blockIdx.y; b < n; b += gridDim.y) {
    const std::int64_t row = (b * seq_len + t) * shape.width;
    for (std::int64_t at = std::int64_t{threadIdx.x} * kRun; at < shape.width;
         at += kThreads * kRun) {
      turn_run<kPairs, T, kRun>(x + row, y + row, cos, sin, shape, at);
    }
  }
}

template <RopePairs kPairs, typename T>
void turn(const Rope& args) {
  const RopeOptions& options = args.options;
  const RowShape shape{.width = options.heads * options.head_dim,
                       .head_dim = static_cast<int>(options.head_dim),
                       .rotated_heads = static_cast<int>(options.rotated_heads),
                       .pairs = static_cast<int>(args.rotated_dim / 2)};
  const std::int64_t n = args.x.numel() / (shape.width * args.seq_len);
  // About 4096 blocks where there are so many rows.
  const std::int64_t side_by_side =
      std::clamp<std::int64_t>(4096 / std::max<std::int64_t>(args.seq_len, 1), 1, n);
  const dim3 grid(static_cast<unsigned>(args.seq_len), static_cast<unsigned>(side_by_side));
  const double log2_base = std::log2(options.base);
  const double direction = args.is_inverse ? -1 : 1;
  constexpr int kRun = kVectorLanes<T>;
  const int turning = kPairs == RopePairs::kHalves ? shape.pairs : 2 * shape.pairs;
  const bool has_runs =
      are_aligned(args.x.raw(), args.y.raw()) && shape.head_dim % kRun == 0 && turning % kRun == 0;
  const auto launch = [&](auto kernel) {
    kernel<<<grid, kThreads, 0, stream_of(args.x)>>>(elements<T>(args.x), elements<T>(args.y), n,
                                                     args.seq_len, shape, options.start, log2_base,
                                                     direction);
  };
  if (has_runs) {
    launch(turn_rows<kPairs, T, kRun>);
  } else {
    launch(turn_rows<kPairs, T, 1>);
  }
  check_launch("turn_rows");
}

}  // namespace

void rope(const Rope& args) {
  GHOST_CHECK(args.rotated_dim <= 2 * kMostPairs,
              "rope: {} channels of a head turn; expected {} at most on a GPU", args.rotated_dim,
              2 * kMostPairs);
  visit_gpu_real(args.x.dtype(), "rope", [&]<typename T>() {
    switch (args.options.pairs) {
      case RopePairs::kInterleaved:
        return turn<RopePairs::kInterleaved, T>(args);
      case RopePairs::kHalves:
        return turn<RopePairs::kHalves, T>(args);
    }
  });
}

}  // namespace ghost::cuda
