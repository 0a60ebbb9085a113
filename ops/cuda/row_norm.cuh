#pragma once

#include <string_view>

#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/column_sums.h"

// What layer_norm and rms_norm share: rows [C] with statistics of their own. A block is
// (threads of a row, rows side by side); a thread has 8 neighbouring channels in each of kChunks
// chunks of 8 * blockDim.x channels.

namespace ghost::cuda {

inline constexpr int kNormLanes = 8;
inline constexpr int kMostNormThreads = 512;
inline constexpr std::int64_t kMostNormChannels = 8192;

/// First channel that this thread has in a chunk.
__device__ __forceinline__ std::int64_t first_channel(int chunk) {
  return (std::int64_t{chunk} * blockDim.x + threadIdx.x) * kNormLanes;
}

/// Sums of N values over the threads of a row, given to each of them. `shared` has a place for each
/// warp of the block. All threads of the block must call, with or without a row.
template <int N>
__device__ __forceinline__ void row_sums(float (&values)[N], float (*shared)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    values[i] = warp_sum(values[i]);
  }
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  if (warps == 1) {
    return;
  }
  const int first = static_cast<int>(threadIdx.y) * warps;
  __syncthreads();  // what an earlier call left has been read
  if (threadIdx.x % kWarpSize == 0) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      shared[first + threadIdx.x / kWarpSize][i] = values[i];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    values[i] = 0;
    for (int warp = 0; warp < warps; ++warp) {
      values[i] += shared[first + warp][i];
    }
  }
}

template <typename T>
struct NormForward {
  const T* x;     // [rows, C]
  const T* gain;  // [C]
  const T* bias;  // [C] or null
  T* y;           // [rows, C]
  float* mean;    // [rows]; null for rms_norm
  float* rstd;    // [rows]
  T* normalized;  // [rows, C] or null
  std::int64_t rows;
  std::int64_t cols;
  float eps;
  bool is_aligned = false;
};

inline constexpr int kNormForwardChunks = 4;  // a row of 1024 channels is one warp's

// A row stays in registers between its statistics and its output. Traffic: x and y once.
// kCentred: the mean is taken off, as in layer_norm. Launch: ceil(rows / blockDim.y) blocks.
template <typename T, bool kCentred>
__global__ void __launch_bounds__(kMostNormThreads) normalize_rows(const NormForward<T> args) {
  __shared__ float shared[kMostNormThreads / kWarpSize][1];
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const bool is_row = row < args.rows;
  const std::int64_t cols = is_row ? args.cols : 0;
  float values[kNormForwardChunks][kNormLanes];
  float sums[1] = {0};
#pragma unroll
  for (int chunk = 0; chunk < kNormForwardChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
    load_lanes<kNormLanes>(args.x + row * args.cols + c, cols - c, args.is_aligned, values[chunk]);
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      sums[0] += values[chunk][lane];
    }
  }
  float mean = 0;
  if constexpr (kCentred) {
    row_sums(sums, shared);
    mean = sums[0] / static_cast<float>(args.cols);
  }
  sums[0] = 0;
#pragma unroll
  for (int chunk = 0; chunk < kNormForwardChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      const float centred = values[chunk][lane] - mean;
      sums[0] += c + lane < cols ? centred * centred : 0.0F;
    }
  }
  row_sums(sums, shared);
  const float rstd = rsqrtf(sums[0] / static_cast<float>(args.cols) + args.eps);
  if (is_row && threadIdx.x == 0) {
    args.rstd[row] = rstd;
    if constexpr (kCentred) {
      args.mean[row] = mean;
    }
  }
#pragma unroll
  for (int chunk = 0; chunk < kNormForwardChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
    float gain[kNormLanes];
    float bias[kNormLanes] = {};
    load_lanes<kNormLanes>(args.gain + c, cols - c, args.is_aligned, gain);
    if (args.bias != nullptr) {
      load_lanes<kNormLanes>(args.bias + c, cols - c, args.is_aligned, bias);
    }
    float out[kNormLanes];
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      values[chunk][lane] = (values[chunk][lane] - mean) * rstd;
      out[lane] = values[chunk][lane] * gain[lane] + bias[lane];
    }
    store_lanes<kNormLanes>(args.y + row * args.cols + c, cols - c, args.is_aligned, out);
    if (args.normalized != nullptr) {
      store_lanes<kNormLanes>(args.normalized + row * args.cols + c, cols - c, args.is_aligned,
                              values[chunk]);
    }
  }
}

template <typename T>
struct NormApply {
  const T* x;         // [rows, C]
  const T* gain;      // [C]
  const T* bias;      // [C] or null
  const float* mean;  // [rows]; null: 0
  const float* rstd;  // [rows]; null: x is normalised already
  T* y;               // [rows, C]
  std::int64_t rows;
  std::int64_t cols;
  bool is_aligned = false;
};

// y from known statistics. Blocks stride over rows, threads over channels.
template <typename T>
__global__ void __launch_bounds__(kMostNormThreads) apply_norm_to_rows(const NormApply<T> args) {
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const float mean = args.mean != nullptr ? args.mean[row] : 0.0F;
    const float scale = args.rstd != nullptr ? args.rstd[row] : 1.0F;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kNormLanes; c < args.cols;
         c += std::int64_t{blockDim.x} * kNormLanes) {
      float values[kNormLanes];
      float gain[kNormLanes];
      float bias[kNormLanes] = {};
      const std::int64_t left = args.cols - c;
      load_lanes<kNormLanes>(args.x + row * args.cols + c, left, args.is_aligned, values);
      load_lanes<kNormLanes>(args.gain + c, left, args.is_aligned, gain);
      if (args.bias != nullptr) {
        load_lanes<kNormLanes>(args.bias + c, left, args.is_aligned, bias);
      }
#pragma unroll
      for (int lane = 0; lane < kNormLanes; ++lane) {
        values[lane] = (values[lane] - mean) * scale * gain[lane] + bias[lane];
      }
      store_lanes<kNormLanes>(args.y + row * args.cols + c, left, args.is_aligned, values);
    }
  }
}

template <typename T>
struct NormBackward {
  const T* x;            // [rows, C]
  const T* gain;         // [C]
  const float* mean;     // [rows]; null: 0
  const float* rstd;     // [rows]
  bool is_normalized;    // x is normalised already
  const T* dy;           // [P, rows, C]
  T* dx;                 // [P, rows, C] or null
  float* dgain_partial;  // [gridDim.x, C] or null
  float* dbias_partial;  // [gridDim.x, C] or null
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t basis;
  bool is_aligned = false;
};

// Adds what the rows side by side have summed, in order, and writes the block's part.
template <int kChunks>
__device__ __forceinline__ void write_part(const float (&sums)[kChunks][kNormLanes], float* shared,
                                           float* partial, std::int64_t cols) {
  const int width = static_cast<int>(blockDim.x) * kChunks * kNormLanes;
  __syncthreads();  // an earlier call has read what it needs
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      shared[threadIdx.y * width + first_channel(chunk) + lane] = sums[chunk][lane];
    }
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); c < cols;
       c += static_cast<int>(blockDim.x * blockDim.y)) {
    float total = 0;
    for (int row = 0; row < static_cast<int>(blockDim.y); ++row) {
      total += shared[row * width + c];
    }
    partial[std::int64_t{blockIdx.x} * cols + c] = total;
  }
}

// With n the normalised x and g = dy * gain: dx = rstd * (g - mean(g) - n * mean(g * n)), without
// mean(g) where nothing is centred; dgain = sum dy * n and dbias = sum dy over the block's rows, in
// registers until the end. Blocks stride over rows. Traffic: x once, dy and dx once each. The order
// of all sums depends on the launch alone. kBlocks: how many are to fit on a multiprocessor.
template <typename T, bool kCentred, int kChunks, int kBlocks>
__global__ void __launch_bounds__(kMostNormThreads, kBlocks)
    normalize_rows_backward(const NormBackward<T> args) {
  __shared__ float warp_sums[kMostNormThreads / kWarpSize][2];
  __shared__ float shared[kMostNormThreads * kChunks * kNormLanes];
  float gain[kChunks][kNormLanes];
  float dgain[kChunks][kNormLanes] = {};
  float dbias[kChunks][kNormLanes] = {};
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
    load_lanes<kNormLanes>(args.gain + c, args.cols - c, args.is_aligned, gain[chunk]);
  }
  const float per_channel = 1.0F / static_cast<float>(args.cols);
  // The same number of rounds for all threads of a block: they meet in row_sums.
  for (std::int64_t first = std::int64_t{blockIdx.x} * blockDim.y; first < args.rows;
       first += std::int64_t{gridDim.x} * blockDim.y) {
    const std::int64_t row = first + threadIdx.y;
    const bool is_row = row < args.rows;
    const std::int64_t cols = is_row ? args.cols : 0;
    const float mean = is_row && args.mean != nullptr ? args.mean[row] : 0.0F;
    const float rstd = is_row ? args.rstd[row] : 0.0F;
    const float scale = args.is_normalized ? 1.0F : rstd;
    float n[kChunks][kNormLanes];
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const std::int64_t c = first_channel(chunk);
      load_lanes<kNormLanes>(args.x + row * args.cols + c, cols - c, args.is_aligned, n[chunk]);
#pragma unroll
      for (int lane = 0; lane < kNormLanes; ++lane) {
        n[chunk][lane] = (n[chunk][lane] - mean) * scale;
      }
    }
    for (std::int64_t p = 0; p < args.basis; ++p) {
      const std::int64_t at = (p * args.rows + row) * args.cols;
      float g[kChunks][kNormLanes];
      float sums[2] = {0, 0};  // of g and g * n; lanes past the row have dy = 0
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const std::int64_t c = first_channel(chunk);
        load_lanes<kNormLanes>(args.dy + at + c, cols - c, args.is_aligned, g[chunk]);
#pragma unroll
        for (int lane = 0; lane < kNormLanes; ++lane) {
          dgain[chunk][lane] += g[chunk][lane] * n[chunk][lane];
          dbias[chunk][lane] += g[chunk][lane];
          g[chunk][lane] *= gain[chunk][lane];
          sums[0] += g[chunk][lane];
          sums[1] += g[chunk][lane] * n[chunk][lane];
        }
      }
      if (args.dx != nullptr) {
        row_sums(sums, warp_sums);
        const float mean_g = kCentred ? sums[0] * per_channel : 0.0F;
        const float mean_gn = sums[1] * per_channel;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
          const std::int64_t c = first_channel(chunk);
#pragma unroll
          for (int lane = 0; lane < kNormLanes; ++lane) {
            g[chunk][lane] = rstd * (g[chunk][lane] - mean_g - n[chunk][lane] * mean_gn);
          }
          store_lanes<kNormLanes>(args.dx + at + c, cols - c, args.is_aligned, g[chunk]);
        }
      }
    }
  }
  if (args.dgain_partial != nullptr) {
    write_part(dgain, shared, args.dgain_partial, args.cols);
  }
  if (args.dbias_partial != nullptr) {
    write_part(dbias, shared, args.dbias_partial, args.cols);
  }
}

/// Threads of a row, whole warps, and as many rows as fit beside it in `threads`.
inline dim3 norm_block(std::int64_t cols, int chunks, int threads) {
  const std::int64_t of_warp = std::int64_t{kWarpSize} * kNormLanes * chunks;
  const auto per_row = static_cast<unsigned>((cols + of_warp - 1) / of_warp * kWarpSize);
  const unsigned rows = static_cast<unsigned>(threads) / per_row;
  return {per_row, rows > 1 ? rows : 1};
}

// Launches for the device of x; these find out for themselves whether rows are aligned.

template <bool kCentred, typename T>
void launch_norm(const Tensor& x, NormForward<T> args) {
  args.is_aligned = args.cols % kVectorLanes<T> == 0 &&
                    are_aligned(args.x, args.gain, args.bias, args.y, args.normalized);
  const dim3 block = norm_block(args.cols, kNormForwardChunks, 256);
  const auto blocks = static_cast<unsigned>((args.rows + block.y - 1) / block.y);
  normalize_rows<T, kCentred><<<blocks, block, 0, stream_of(x)>>>(args);
  check_launch("normalize_rows");
}

template <typename T>
void launch_norm(const Tensor& x, NormApply<T> args) {
  args.is_aligned =
      args.cols % kVectorLanes<T> == 0 && are_aligned(args.x, args.gain, args.bias, args.y);
  const auto per_row = static_cast<int>(norm_block(args.cols, kNormForwardChunks, 1).x);
  const int threads = per_row < kMostNormThreads ? per_row : kMostNormThreads;
  const int blocks = num_blocks(x.device(), args.rows * threads, threads);
  apply_norm_to_rows<T><<<blocks, threads, 0, stream_of(x)>>>(args);
  check_launch("apply_norm_to_rows");
}

/// `parts`: blocks that have a row in the partial sums; 0 where there are none.
template <bool kCentred, typename T>
void launch_norm(const Tensor& x, NormBackward<T> args, std::int64_t parts) {
  args.is_aligned =
      args.cols % kVectorLanes<T> == 0 && are_aligned(args.x, args.gain, args.dy, args.dx);
  const auto launch = [&](auto kernel, const dim3& block) {
    const auto threads = static_cast<int>(block.x * block.y);
    const std::int64_t rounds = (args.rows + block.y - 1) / block.y;
    const std::int64_t blocks =
        parts > 0 ? parts : num_blocks(x.device(), rounds * threads, threads);
    kernel<<<static_cast<unsigned>(blocks), block, 0, stream_of(x)>>>(args);
    check_launch("normalize_rows_backward");
  };
  constexpr std::int64_t kNarrow = std::int64_t{kMostNormThreads} * kNormLanes;
  if (args.cols <= kNarrow) {
    launch(normalize_rows_backward<T, kCentred, 1, 2>, norm_block(args.cols, 1, kMostNormThreads));
  } else {
    launch(normalize_rows_backward<T, kCentred, 2, 1>, norm_block(args.cols, 2, kMostNormThreads));
  }
}

inline void check_norm_channels(std::string_view name, std::int64_t channels) {
  GHOST_CHECK(channels <= kMostNormChannels,
              "{}: rows of {} channels; expected {} at most on a GPU", name, channels,
              kMostNormChannels);
}

}  // namespace ghost::cuda
