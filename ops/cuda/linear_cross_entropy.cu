#include <algorithm>
#include <type_traits>

#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/gemm.h"
#include "ops/linear_cross_entropy_kernels.h"

namespace ghost::cuda {
namespace {

constexpr int kLanes = 8;         // columns of a thread at a time
constexpr int kMaxThreads = 512;  // of a row's block
constexpr int kSumThreads = 1024;
constexpr int kThreads = 256;

/// A chunk of rows of logits; pointers to what is one a row begin at the chunk's first.
template <typename T>
struct LogitRows {
  const T* logits;       // [rows, stride]
  T* dlogits;            // [rows, stride], may be logits; with a gradient
  std::int64_t stride;   // a multiple of 8
  std::int64_t counted;  // columns without padding
  const std::int32_t* targets;
  std::int32_t ignore_index;
  float* lse;              // out with statistics, else in
  float* losses;           // with statistics
  const double* count;     // with a gradient
  const float* cotangent;  // with a gradient; null: 1
};

// Logits in bf16 carry 8 bits: the fast exponential is far finer than that.
template <typename T>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return expf(x);
  } else {
    return __expf(x);
  }
}

// log(sum exp) of a row: each thread keeps the largest of what it has seen and the sum of
// exponentials relative to it.
template <typename T>
__device__ __forceinline__ float log_sum_exp(const T* row, std::int64_t counted, float* shared) {
  float largest = -INFINITY;
  float sum = 0.0F;
  for (std::int64_t column = std::int64_t{threadIdx.x} * kLanes; column < counted;
       column += std::int64_t{blockDim.x} * kLanes) {
    float values[kLanes];
    load_lanes<kLanes>(row + column, counted - column, true, values);
    float next = largest;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      values[lane] = column + lane < counted ? values[lane] : -INFINITY;
      next = fmaxf(next, values[lane]);
    }
    sum *= exponential<T>(largest - next);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      sum += exponential<T>(values[lane] - next);
    }
    largest = next;
  }
  const float of_row = block_max(largest, shared);
  // A thread without columns has nothing to add.
  const float total =
      block_sum(largest == -INFINITY ? sum : sum * exponential<T>(largest - of_row), shared);
  return of_row + logf(total);
}

// One block a row. Traffic: logits once for the statistics, once more (from a cache where the row
// fits) for the gradient, which is written once. Launch: whole warps.
template <typename T, bool kStatistics, bool kGradient>
__global__ void __launch_bounds__(kMaxThreads) rows_of_logits(LogitRows<T> args) {
  __shared__ float shared[kWarpSize];
  const std::int64_t i = blockIdx.x;
  const T* row = args.logits + i * args.stride;
  const std::int64_t target = args.targets[i];
  const bool counts = args.targets[i] != args.ignore_index;
  const bool is_inside = target >= 0 && target < args.counted;
  float lse = 0.0F;
  if constexpr (kStatistics) {
    // Read before anything is written in place: block_max and block_sum wait for all threads.
    const float of_target = is_inside ? to_float(row[target]) : NAN;
    lse = log_sum_exp(row, args.counted, shared);
    if (threadIdx.x == 0) {
      args.lse[i] = lse;
      args.losses[i] = counts ? lse - of_target : 0.0F;
    }
  } else {
    lse = args.lse[i];
  }
  if constexpr (kGradient) {
    const float cotangent = args.cotangent != nullptr ? *args.cotangent : 1.0F;
    const float scale = counts ? cotangent * static_cast<float>(1.0 / *args.count) : 0.0F;
    T* out = args.dlogits + i * args.stride;
    for (std::int64_t column = std::int64_t{threadIdx.x} * kLanes; column < args.stride;
         column += std::int64_t{blockDim.x} * kLanes) {
      float values[kLanes];
      load_lanes<kLanes>(row + column, args.counted - column, true, values);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        const float p =
            exponential<T>(values[lane] - lse) - (column + lane == target ? 1.0F : 0.0F);
        values[lane] = counts && column + lane < args.counted ? scale * p : 0.0F;
      }
      store_lanes<kLanes>(out + column, values);
    }
  }
}

// One block. NaN where a target is out of range.
__global__ void __launch_bounds__(kSumThreads)
    count_targets(const std::int32_t* __restrict__ targets, std::int64_t n,
                  std::int32_t ignore_index, std::int64_t vocab_size, double* __restrict__ count) {
  __shared__ int shared[kWarpSize];
  int counted = 0;
  bool is_bad = false;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const std::int32_t target = targets[i];
    const bool counts = target != ignore_index;
    counted += counts ? 1 : 0;
    is_bad = is_bad || (counts && (target < 0 || target >= vocab_size));
  }
  const int total = block_sum(counted, shared);
  const int any_bad = __syncthreads_or(is_bad ? 1 : 0);
  if (threadIdx.x == 0) {
    *count = any_bad != 0 ? static_cast<double>(NAN) : static_cast<double>(total);
  }
}

// One block.
__global__ void __launch_bounds__(kSumThreads)
    mean_of_losses(const float* __restrict__ losses, std::int64_t n,
                   const double* __restrict__ count, float* __restrict__ loss) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    sum += static_cast<double>(losses[i]);
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *loss = static_cast<float>(sum / *count);
  }
}

// out[p] = dloss[p] x, eight elements a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    scale_by_cotangent(const float* __restrict__ dloss, const T* __restrict__ x, std::int64_t n,
                       std::int64_t num_cotangents, bool is_aligned, T* __restrict__ out) {
  const std::int64_t vectors = (n + kLanes - 1) / kLanes;
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       i < num_cotangents * vectors; i += stride) {
    const std::int64_t p = i / vectors;
    const std::int64_t begin = i % vectors * kLanes;
    const float factor = dloss[p];
    float values[kLanes];
    load_lanes<kLanes>(x + begin, n - begin, is_aligned, values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      values[lane] *= factor;
    }
    store_lanes<kLanes>(out + p * n + begin, n - begin, is_aligned, values);
  }
}

/// Rows [first, first + count) of the head's.
struct Chunk {
  std::int64_t first;
  std::int64_t count;
};

template <typename Work>
void for_each_chunk(const CrossEntropyRows& in, const CrossEntropyPieces& pieces,
                    const Work& work) {
  const std::int64_t rows = in.x.dim(0);
  for (std::int64_t first = 0; first < rows; first += pieces.chunk_rows) {
    work(Chunk{.first = first, .count = std::min(pieces.chunk_rows, rows - first)});
  }
}

/// The rows of a chunk in logits [1, rows of a chunk or all of them, stride].
Tensor rows_of_chunk(const CrossEntropyRows& in, const Tensor& logits, const Chunk& chunk) {
  const bool holds_all = logits.dim(1) == in.x.dim(0);
  const std::int64_t begin = holds_all ? chunk.first : 0;
  return logits.reshape({logits.dim(1), logits.dim(2)}).slice(begin, begin + chunk.count);
}

void form_logits(const CrossEntropyRows& in, const Chunk& chunk, const Tensor& logits) {
  gemm(in.x.device(), {.m = chunk.count,
                       .n = in.weight.dim(0),
                       .k = in.x.dim(1),
                       .a = matrix_of(in.x.slice(chunk.first, chunk.first + chunk.count)),
                       .b = matrix_of(in.weight, Transpose::kYes),
                       .c = matrix_of(logits)});
}

template <bool kStatistics, bool kGradient>
void visit_rows(const CrossEntropyRows& in, const Chunk& chunk, const Tensor& logits,
                const Tensor& losses, const CrossEntropyGradient* gradient, const Tensor& dlogits) {
  visit_gpu_real(in.x.dtype(), "linear_cross_entropy", [&]<typename T>() {
    const std::int64_t stride = logits.dim(1);
    const LogitRows<T> args{
        .logits = elements<T>(logits),
        .dlogits = elements<T>(dlogits),
        .stride = stride,
        .counted = in.vocab_size,
        .targets = elements<std::int32_t>(in.targets) + chunk.first,
        .ignore_index = in.ignore_index,
        .lse = elements<float>(in.lse) + chunk.first,
        .losses = losses.defined() ? elements<float>(losses) + chunk.first : nullptr,
        .count = gradient != nullptr ? elements<double>(gradient->count) : nullptr,
        .cotangent = gradient != nullptr ? elements<float>(gradient->cotangent) : nullptr};
    const std::int64_t vectors = (stride / kLanes + kWarpSize - 1) / kWarpSize * kWarpSize;
    const auto threads = static_cast<unsigned>(std::min<std::int64_t>(kMaxThreads, vectors));
    rows_of_logits<T, kStatistics, kGradient>
        <<<static_cast<unsigned>(chunk.count), threads, 0, stream_of(in.x)>>>(args);
    check_launch("rows_of_logits");
  });
}

/// dx and dweight of a chunk.
void multiply_gradient(const CrossEntropyGradient& args, const Chunk& chunk,
                       const Tensor& dlogits) {
  const CrossEntropyRows& in = args.in;
  const std::int64_t vocab = in.weight.dim(0);
  const std::int64_t channels = in.x.dim(1);
  const std::int64_t last = chunk.first + chunk.count;
  if (args.dx.defined()) {
    gemm(in.x.device(), {.m = chunk.count,
                         .n = channels,
                         .k = vocab,
                         .a = matrix_of(dlogits),
                         .b = matrix_of(in.weight),
                         .c = matrix_of(args.dx.slice(chunk.first, last))});
  }
  if (args.dweight.defined()) {
    gemm(in.x.device(), {.m = vocab,
                         .n = channels,
                         .k = chunk.count,
                         .a = matrix_of(dlogits, Transpose::kYes),
                         .b = matrix_of(in.x.slice(chunk.first, last)),
                         .c = matrix_of(args.dweight),
                         .beta = args.accumulate_dweight || chunk.first > 0 ? 1.0F : 0.0F});
  }
}

}  // namespace

void linear_cross_entropy(const CrossEntropyCount& args) {
  count_targets<<<1, kSumThreads, 0, stream_of(args.targets)>>>(
      elements<std::int32_t>(args.targets), args.targets.numel(), args.ignore_index,
      args.vocab_size, elements<double>(args.count));
  check_launch("count_targets");
}

void linear_cross_entropy(const CrossEntropyLoss& args) {
  for_each_chunk(args.in, args.pieces, [&](const Chunk& chunk) {
    const Tensor logits = rows_of_chunk(args.in, args.exponentials, chunk);
    form_logits(args.in, chunk, logits);
    visit_rows<true, false>(args.in, chunk, logits, args.losses, nullptr, {});
  });
}

void linear_cross_entropy(const CrossEntropyGradient& args) {
  for_each_chunk(args.in, args.pieces, [&](const Chunk& chunk) {
    const Tensor dlogits = rows_of_chunk(args.in, args.dlogits, chunk);
    Tensor logits = dlogits;
    if (args.exponentials.defined()) {
      logits = rows_of_chunk(args.in, args.exponentials, chunk);
    } else {
      form_logits(args.in, chunk, logits);
    }
    visit_rows<false, true>(args.in, chunk, logits, {}, &args, dlogits);
    multiply_gradient(args, chunk, dlogits);
  });
}

void linear_cross_entropy(const CrossEntropyLossAndGradient& args) {
  for_each_chunk(args.loss.in, args.loss.pieces, [&](const Chunk& chunk) {
    const Tensor logits = rows_of_chunk(args.loss.in, args.loss.exponentials, chunk);
    form_logits(args.loss.in, chunk, logits);
    visit_rows<true, true>(args.loss.in, chunk, logits, args.loss.losses, &args.gradient, logits);
    multiply_gradient(args.gradient, chunk, logits);
    if (args.gradient.sketch != nullptr) {
      args.gradient.sketch->add(logits, chunk.first);
    }
  });
}

void linear_cross_entropy(const CrossEntropyMean& args) {
  mean_of_losses<<<1, kSumThreads, 0, stream_of(args.losses)>>>(
      elements<float>(args.losses), args.losses.numel(), elements<double>(args.count),
      elements<float>(args.loss));
  check_launch("mean_of_losses");
}

void linear_cross_entropy(const CrossEntropyScale& args) {
  const std::int64_t n = args.x.numel();
  const std::int64_t num_cotangents = args.dloss.dim(0);
  visit_gpu_real(args.x.dtype(), "linear_cross_entropy", [&]<typename T>() {
    const T* x = elements<T>(args.x);
    T* out = elements<T>(args.out);
    const std::int64_t vectors = num_cotangents * ((n + kLanes - 1) / kLanes);
    scale_by_cotangent<T>
        <<<num_blocks(args.x.device(), vectors, kThreads), kThreads, 0, stream_of(args.x)>>>(
            elements<float>(args.dloss), x, n, num_cotangents,
            are_aligned(x, out) && (num_cotangents == 1 || n % kLanes == 0), out);
    check_launch("scale_by_cotangent");
  });
}

}  // namespace ghost::cuda
