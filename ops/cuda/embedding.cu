#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/embedding_kernels.h"

namespace ghost::cuda {
namespace {

constexpr int kBlock = 256;

// Blocks stride over positions, threads over channels, 16 bytes each. Nobody on the host sees the
// tokens, so one that the table does not have cannot throw: its row is NaN, and so is the loss.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    look_up_rows(const std::int32_t* __restrict__ tokens, const T* __restrict__ table,
                 T* __restrict__ y, std::int64_t n, std::int64_t vocab_size, std::int64_t channels,
                 bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for (std::int64_t row = blockIdx.x; row < n; row += gridDim.x) {
    const std::int32_t token = tokens[row];
    const bool is_known = token >= 0 && token < vocab_size;
    const T* from = table + (is_known ? token : 0) * channels;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kLanes; c < channels;
         c += std::int64_t{blockDim.x} * kLanes) {
      float values[kLanes];
      load_lanes<kLanes>(from + c, channels - c, is_aligned, values);
      if (!is_known) {
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
          values[lane] = __int_as_float(0x7fffffff);
        }
      }
      store_lanes<kLanes>(y + row * channels + c, channels - c, is_aligned, values);
    }
  }
}

// What the sort takes: (token, position), tokens that the table does not have behind all others.
__global__ void __launch_bounds__(kThreads)
    number_tokens(const std::int32_t* __restrict__ tokens, std::uint32_t* __restrict__ keys,
                  std::int32_t* __restrict__ positions, std::int64_t n, std::uint32_t vocab_size) {
  for_each_run<1>(n, [&](std::int64_t i) {
    const auto token = static_cast<std::uint32_t>(tokens[i]);  // a negative one is large
    keys[i] = token < vocab_size ? token : vocab_size;
    positions[i] = static_cast<std::int32_t>(i);
  });
}

constexpr int kLanes = 8;  // channels of a thread
constexpr int kWarps = 8;

// Where the run of equal keys that begins here ends: by doubling, then halving.
__device__ std::int64_t end_of_run(const std::uint32_t* keys, std::int64_t begin, std::int64_t n) {
  const std::uint32_t key = keys[begin];
  std::int64_t reach = 1;
  while (begin + reach < n && keys[begin + reach] == key) {
    reach *= 2;
  }
  std::int64_t inside = begin + reach / 2;
  std::int64_t outside = begin + reach < n ? begin + reach : n;
  while (outside - inside > 1) {
    const std::int64_t middle = inside + (outside - inside) / 2;
    (keys[middle] == key ? inside : outside) = middle;
  }
  return outside;
}

// dtable[v] += the rows of dy at v's positions, which the sort has put side by side in their order.
// A block looks at one place of the sorted list; it works if a token's run begins there, on 256
// channels: warp w adds every 8th row of the run from the w-th on, a lane 8 channels; the 8 warps
// are added in order. So the result depends on the tokens alone, and a frequent token's run is
// shared by 8 warps with several rows in flight each. Traffic: dy once, the touched rows of dtable
// twice. Launch: blockDim = (32, 8), gridDim = (n, channels / 256).
template <typename T>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    add_rows_of_tokens(const std::uint32_t* __restrict__ keys,
                       const std::int32_t* __restrict__ positions, const T* __restrict__ dy,
                       float* __restrict__ dtable, std::int64_t n, std::uint32_t vocab_size,
                       std::int64_t channels, bool is_aligned) {
  __shared__ float shared[kWarps][kWarpSize * kLanes];
  const std::int64_t begin = blockIdx.x;
  const std::uint32_t token = keys[begin];
  if (token == vocab_size || (begin > 0 && keys[begin - 1] == token)) {
    return;  // the same for all threads of the block
  }
  const std::int64_t first_channel = std::int64_t{blockIdx.y} * kWarpSize * kLanes;
  const int first = static_cast<int>(threadIdx.x) * kLanes;
  const std::int64_t left = channels - first_channel - first;  // may be negative
  const std::int64_t end = end_of_run(keys, begin, n);
  float sums[kLanes] = {};
#pragma unroll 4
  for (std::int64_t i = begin + threadIdx.y; i < end; i += kWarps) {
    float values[kLanes];
    load_lanes<kLanes>(dy + positions[i] * channels + first_channel + first, left, is_aligned,
                       values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += values[lane];
    }
  }
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) {
    shared[threadIdx.y][first + lane] = sums[lane];
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);  // 0 to 255
  if (first_channel + column < channels) {
    float* out = dtable + token * channels + first_channel + column;
    float total = *out;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      total += shared[warp][column];
    }
    *out = total;
  }
}

// 16 bytes a thread; the position's row comes from cache for all but the first of a batch.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    add_positions(const T* __restrict__ x, const T* __restrict__ table, T* __restrict__ y,
                  std::int64_t rows, std::int64_t seq_len, std::int64_t channels, bool is_aligned) {
  constexpr int kRun = kVectorLanes<T>;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* position = table + row % seq_len * channels;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kRun; c < channels;
         c += std::int64_t{blockDim.x} * kRun) {
      float values[kRun];
      float offsets[kRun];
      load_lanes<kRun>(x + row * channels + c, channels - c, is_aligned, values);
      load_lanes<kRun>(position + c, channels - c, is_aligned, offsets);
#pragma unroll
      for (int lane = 0; lane < kRun; ++lane) {
        values[lane] += offsets[lane];
      }
      store_lanes<kRun>(y + row * channels + c, channels - c, is_aligned, values);
    }
  }
}

// Threads own places of [T, C], 8 elements each, and add the batch in order. Traffic: dy once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_over_batch(const T* __restrict__ dy, float* __restrict__ dtable, std::int64_t batch,
                   std::int64_t n, bool accumulate, bool is_aligned) {
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float sums[kLanes] = {};
    if (accumulate) {
      load_lanes<kLanes>(dtable + i, n - i, is_aligned, sums);
    }
#pragma unroll 4
    for (std::int64_t b = 0; b < batch; ++b) {
      float values[kLanes];
      load_lanes<kLanes>(dy + b * n + i, n - i, is_aligned, values);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        sums[lane] += values[lane];
      }
    }
    store_lanes<kLanes>(dtable + i, n - i, is_aligned, sums);
  });
}

// Threads for a row of channels, 16 bytes each, 256 at most.
template <typename T>
int threads_for(std::int64_t channels) {
  const std::int64_t vectors = (channels + kVectorLanes<T> - 1) / kVectorLanes<T>;
  const std::int64_t warps = (vectors + kWarpSize - 1) / kWarpSize;
  return static_cast<int>(warps * kWarpSize < kBlock ? warps * kWarpSize : kBlock);
}

int key_bits(std::int64_t vocab_size) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(vocab_size)));
}

/// Places of the sort's arrays in the workspace, in bytes.
struct SortSpace {
  explicit SortSpace(std::int64_t n) : array_bytes((n * 4 + 255) / 256 * 256) {}

  template <typename T>
  T* array(const Tensor& workspace, int i) const {
    return reinterpret_cast<T*>(workspace.raw() + i * array_bytes);
  }

  std::int64_t array_bytes;
};

}  // namespace

void embedding(const EmbeddingForward& args) {
  const std::int64_t n = args.tokens.numel();
  const std::int64_t channels = args.table.dim(1);
  visit_gpu_real(args.table.dtype(), "embedding", [&]<typename T>() {
    const bool is_aligned =
        are_aligned(args.table.raw(), args.y.raw()) && channels % kVectorLanes<T> == 0;
    const int threads = threads_for<T>(channels);
    const int blocks = num_blocks(args.y.device(), n * threads, threads);
    look_up_rows<T><<<blocks, threads, 0, stream_of(args.y)>>>(
        elements<std::int32_t>(args.tokens), elements<T>(args.table), elements<T>(args.y), n,
        args.table.dim(0), channels, is_aligned);
  });
  check_launch("look_up_rows");
}

std::int64_t embedding_workspace(const EmbeddingBackward& args) {
  const std::int64_t n = args.tokens.numel();
  std::size_t sort_bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(
            nullptr, sort_bytes, static_cast<const std::uint32_t*>(nullptr),
            static_cast<std::uint32_t*>(nullptr), static_cast<const std::int32_t*>(nullptr),
            static_cast<std::int32_t*>(nullptr), n, 0, key_bits(args.dtable.dim(0)),
            stream_of(args.tokens)),
        "cub::DeviceRadixSort");
  return 4 * SortSpace(n).array_bytes + static_cast<std::int64_t>(sort_bytes);
}

void embedding(const EmbeddingBackward& args) {
  const std::int64_t n = args.tokens.numel();
  const std::int64_t channels = args.dtable.dim(1);
  const auto vocab_size = static_cast<std::uint32_t>(args.dtable.dim(0));
  const cudaStream_t stream = stream_of(args.tokens);
  const SortSpace space(n);
  auto* keys = space.array<std::uint32_t>(args.workspace, 0);
  auto* positions = space.array<std::int32_t>(args.workspace, 1);
  auto* sorted_keys = space.array<std::uint32_t>(args.workspace, 2);
  auto* sorted_positions = space.array<std::int32_t>(args.workspace, 3);
  auto* sort_space = space.array<std::byte>(args.workspace, 4);
  if (!args.accumulate_dtable) {
    check(cudaMemsetAsync(args.dtable.raw(), 0, static_cast<std::size_t>(args.dtable.bytes()),
                          stream),
          "cudaMemsetAsync");
  }
  number_tokens<<<num_blocks(args.tokens.device(), n, kThreads), kThreads, 0, stream>>>(
      elements<std::int32_t>(args.tokens), keys, positions, n, vocab_size);
  check_launch("number_tokens");
  auto sort_bytes = static_cast<std::size_t>(args.workspace.numel() - 4 * space.array_bytes);
  check(cub::DeviceRadixSort::SortPairs(sort_space, sort_bytes, keys, sorted_keys, positions,
                                        sorted_positions, n, 0, key_bits(vocab_size), stream),
        "cub::DeviceRadixSort");
  const dim3 grid(
      static_cast<unsigned>(n),
      static_cast<unsigned>((channels + kWarpSize * kLanes - 1) / (kWarpSize * kLanes)));
  visit_gpu_real(args.dy.dtype(), "embedding", [&]<typename T>() {
    const bool is_aligned = are_aligned(args.dy.raw()) && channels % kVectorLanes<T> == 0;
    add_rows_of_tokens<T><<<grid, dim3(kWarpSize, kWarps), 0, stream>>>(
        sorted_keys, sorted_positions, elements<T>(args.dy), elements<float>(args.dtable), n,
        vocab_size, channels, is_aligned);
  });
  check_launch("add_rows_of_tokens");
}

void embedding(const PositionEmbeddingForward& args) {
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t rows = args.x.dim(0) * seq_len;
  visit_gpu_real(args.x.dtype(), "position_embedding", [&]<typename T>() {
    const bool is_aligned = are_aligned(args.x.raw(), args.table.raw(), args.y.raw()) &&
                            channels % kVectorLanes<T> == 0;
    const int threads = threads_for<T>(channels);
    const int blocks = num_blocks(args.x.device(), rows * threads, threads);
    add_positions<T><<<blocks, threads, 0, stream_of(args.x)>>>(
        elements<T>(args.x), elements<T>(args.table) + args.start * channels, elements<T>(args.y),
        rows, seq_len, channels, is_aligned);
  });
  check_launch("add_positions");
}

void embedding(const PositionEmbeddingBackward& args) {
  const std::int64_t n = args.seq_len * args.dtable.dim(1);
  const cudaStream_t stream = stream_of(args.dy);
  if (!args.accumulate_dtable) {
    check(cudaMemsetAsync(args.dtable.raw(), 0, static_cast<std::size_t>(args.dtable.bytes()),
                          stream),
          "cudaMemsetAsync");
  }
  float* dtable = elements<float>(args.dtable) + args.start * args.dtable.dim(1);
  visit_gpu_real(args.dy.dtype(), "position_embedding", [&]<typename T>() {
    const bool is_aligned = are_aligned(args.dy.raw(), dtable) && n % kVectorLanes<T> == 0;
    const int blocks = num_blocks(args.dy.device(), n, kThreads, kLanes);
    sum_over_batch<T><<<blocks, kThreads, 0, stream>>>(
        elements<T>(args.dy), dtable, args.dy.numel() / n, n, args.accumulate_dtable, is_aligned);
  });
  check_launch("sum_over_batch");
}

}  // namespace ghost::cuda
