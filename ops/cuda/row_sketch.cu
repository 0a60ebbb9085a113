#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/random/cuda/philox.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/gemm.h"
#include "ops/row_sketch_kernels.h"

namespace ghost::cuda {
namespace {

constexpr std::size_t kHadamardWord = 2;  // as the CPU's

constexpr int kSumThreads = 1024;

/// Word `i` of four.
__device__ __forceinline__ std::uint32_t word_of(const uint4& words, int i) {
  return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

/// S times sqrt(R), columns [first, first + count): +-1 and normal(0, 1) lose little in bf16, and
/// the root goes into the product.
template <typename T>
struct DenseMatrix {
  PhiloxStream stream;
  std::int64_t rank;
  std::int64_t first;
  std::int64_t count;
  T* out;  // [rank, count]
};

// Writes `entry(words, k)` for the entries k that one counter of a column draws.
template <int kPerCounter, typename T, typename Entry>
__device__ __forceinline__ void draw_entries(const DenseMatrix<T>& s, const Entry& entry) {
  const std::int64_t counters = (s.rank + kPerCounter - 1) / kPerCounter;
  for (std::int64_t i = first_index(); i < counters * s.count; i += index_stride()) {
    const std::int64_t counter = i / s.count;
    const std::int64_t column = i % s.count;
    const uint4 words =
        philox_words(s.stream, static_cast<std::uint32_t>((s.first + column) * counters + counter));
    for (int k = 0; k < kPerCounter && counter * kPerCounter + k < s.rank; ++k) {
      s.out[(counter * kPerCounter + k) * s.count + column] = from_float<T>(entry(words, k));
    }
  }
}

// Entry r of a column is bit r % 128 of the words of counter r / 128.
template <typename T>
__global__ void __launch_bounds__(kThreads) draw_rademacher(DenseMatrix<T> s) {
  draw_entries<128>(s, [](const uint4& words, int k) {
    return (word_of(words, k / 32) >> (k % 32) & 1U) == 0 ? 1.0F : -1.0F;
  });
}

// Four entries of a column a counter; Box and Muller in f64, as on the CPU.
template <typename T>
__global__ void __launch_bounds__(kThreads) draw_gaussian(DenseMatrix<T> s) {
  draw_entries<4>(s, [](const uint4& words, int k) {
    const double u = (static_cast<double>(word_of(words, k / 2 * 2)) + 0.5) * 0x1p-32;
    const double v = (static_cast<double>(word_of(words, k / 2 * 2 + 1)) + 0.5) * 0x1p-32;
    const double radius = sqrt(-2.0 * log(u));
    return static_cast<float>(radius * (k % 2 == 0 ? cospi(2.0 * v) : sinpi(2.0 * v)));
  });
}

// sign_b H[pick_r, b]: the Hadamard entry is the parity of the bits that both numbers have.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    draw_srht(DenseMatrix<T> s, const std::int32_t* __restrict__ picked) {
  for (std::int64_t i = first_index(); i < s.rank * s.count; i += index_stride()) {
    const auto column = static_cast<std::uint32_t>(s.first + i % s.count);
    const auto row = static_cast<std::uint32_t>(picked[i / s.count]);
    const std::uint32_t sign = philox_words(s.stream, column).y & 1U;
    const std::uint32_t parity = static_cast<std::uint32_t>(__popc(row & column)) & 1U;
    s.out[i] = from_float<T>((sign ^ parity) == 0 ? 1.0F : -1.0F);
  }
}

// A part of the sum of squares a block.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    square_parts(const T* __restrict__ x, std::int64_t n, double* __restrict__ parts) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    const float value = to_float(x[i]);
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
  }
}

// One block: gamma from the parts of |sketch|^2.
__global__ void __launch_bounds__(kSumThreads)
    find_gamma(const double* __restrict__ parts, int num_parts,
               const double* __restrict__ squared_norm, double eps, double gamma_max,
               double* __restrict__ gamma) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < num_parts; i += kSumThreads) {
    sum += parts[i];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    const double ratio = sqrt(*squared_norm) / (sqrt(sum) + eps);
    *gamma = gamma_max > 0.0 ? fmin(ratio, gamma_max) : ratio;
  }
}

/// One of the choices of how many rows to keep for certain.
struct Certain {
  double weight;
  std::int64_t count;
};

__device__ __forceinline__ bool is_better(const Certain& a, const Certain& b) {
  return a.weight < b.weight || (a.weight == b.weight && a.count < b.count);
}

// One block. Sums up to each place of the descending lengths (a stretch a thread, then the sums of
// the stretches); then the number of rows that are certain; then a draw a thread, found by
// bisection.
__global__ void __launch_bounds__(kSumThreads)
    pick_by_length(const float* __restrict__ lengths, const std::int32_t* __restrict__ order,
                   std::int64_t rows, std::int64_t rank, bool keeps_largest, PhiloxStream stream,
                   double* __restrict__ prefix, std::int32_t* __restrict__ picked,
                   float* __restrict__ weights) {
  __shared__ double stretch_sums[kSumThreads];
  __shared__ Certain best_of_thread[kSumThreads];
  const std::int64_t thread = threadIdx.x;
  const std::int64_t stretch = (rows + kSumThreads - 1) / kSumThreads;
  const std::int64_t begin = min(rows, thread * stretch);
  const std::int64_t end = min(rows, begin + stretch);
  double sum = 0.0;
  for (std::int64_t i = begin; i < end; ++i) {
    sum += static_cast<double>(lengths[i]);
  }
  stretch_sums[thread] = sum;
  __syncthreads();
  double before = 0.0;
  for (std::int64_t i = 0; i < thread; ++i) {
    before += stretch_sums[i];
  }
  for (std::int64_t i = begin; i < end; ++i) {
    before += static_cast<double>(lengths[i]);
    prefix[i] = before;
  }
  __syncthreads();  // all of the block see prefix from here on
  const double total = prefix[rows - 1];
  Certain best{.weight = total / static_cast<double>(rank), .count = 0};
  for (std::int64_t kept = thread + 1; keeps_largest && kept < rank; kept += kSumThreads) {
    const Certain choice{
        .weight = fmax(total - prefix[kept - 1], 0.0) / static_cast<double>(rank - kept),
        .count = kept};
    if (is_better(choice, best)) {
      best = choice;
    }
  }
  best_of_thread[thread] = best;
  __syncthreads();
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    if (thread < half && is_better(best_of_thread[thread + half], best_of_thread[thread])) {
      best_of_thread[thread] = best_of_thread[thread + half];
    }
    __syncthreads();
  }
  const std::int64_t certain = best_of_thread[0].count;
  const double base = certain > 0 ? prefix[certain - 1] : 0.0;
  const double rest = total - base;
  const auto draws = static_cast<double>(rank - certain);
  for (std::int64_t r = thread; r < rank; r += kSumThreads) {
    std::int64_t place = r;
    double weight = 1.0;
    if (r >= certain) {
      const double u =
          (static_cast<double>(philox_words(stream, static_cast<std::uint32_t>(r)).x) + 0.5) *
          0x1p-32;
      std::int64_t low = certain;
      std::int64_t high = rows;
      while (low < high) {  // the first place whose sum is larger than u * rest
        const std::int64_t middle = (low + high) / 2;
        if (prefix[middle] - base > u * rest) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      place = min(low, rows - 1);
      const auto length = static_cast<double>(lengths[place]);
      weight = length > 0.0 ? rest / (draws * length) : 0.0;
    }
    picked[r] = order[place];
    weights[r] = static_cast<float>(sqrt(weight));
  }
}

__global__ void __launch_bounds__(kThreads) number_rows(std::int64_t n, std::int32_t* order) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    order[i] = static_cast<std::int32_t>(i);
  }
}

// One block.
__global__ void __launch_bounds__(kSumThreads)
    add_norm_products(const float* __restrict__ x_norms, const float* __restrict__ dy_norms,
                      std::int64_t rows, double* __restrict__ total) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
    const double product = static_cast<double>(x_norms[i]) * static_cast<double>(dy_norms[i]);
    sum += product * product;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *total += sum;
  }
}

// A part of sum of a * b a block.
__global__ void __launch_bounds__(kThreads)
    multiply_parts(const float* __restrict__ a, const float* __restrict__ b, std::int64_t n,
                   double* __restrict__ parts) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
  }
}

struct WienerNumbers {
  const double* x_squared;
  const double* dy_squared;
  const double* norm_products;
  double collision;
  double decay;
  double* means;
  double* factor;
};

// One block; the parts are those of |dy^T x|^2.
__global__ void __launch_bounds__(kSumThreads)
    find_wiener_factor(const double* __restrict__ parts, int num_parts, WienerNumbers in) {
  __shared__ double shared[kWarpSize];
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < num_parts; i += kSumThreads) {
    sum += parts[i];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    const double p = in.collision;
    const double q = *in.x_squared * *in.dy_squared - 2.0 * *in.norm_products;
    const double size = in.decay * in.means[0] + (1.0 - in.decay) * sum;
    const double noise = in.decay * in.means[1] + (1.0 - in.decay) * p * q;
    in.means[0] = size;
    in.means[1] = noise;
    const double share = (size - noise) / ((1.0 + p) * size);
    *in.factor = size > 0.0 ? fmin(fmax(share, 0.0), 1.0) : 0.0;
  }
}

template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads)
    scale_elements(double constant, const float* __restrict__ cotangent,
                   const double* __restrict__ factor0, const double* __restrict__ factor1,
                   const double* __restrict__ factor2, const T* __restrict__ x, std::int64_t n,
                   Out* __restrict__ out) {
  double product = constant;
  product *= cotangent != nullptr ? static_cast<double>(*cotangent) : 1.0;
  product *= factor0 != nullptr ? *factor0 : 1.0;
  product *= factor1 != nullptr ? *factor1 : 1.0;
  product *= factor2 != nullptr ? *factor2 : 1.0;
  const auto factor = static_cast<float>(product);
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    out[i] = from_float<Out>(factor * to_float(x[i]));
  }
}

template <typename T>
void draw_matrix(const Context& ctx, const DeviceDenseSketch& args, const DenseMatrix<T>& s) {
  const cudaStream_t stream = stream_of(args.x);
  const std::int64_t n = s.rank * s.count;
  switch (args.method) {
    case SketchMethod::kCount:
      break;
    case SketchMethod::kRademacher:
      draw_rademacher<T><<<blocks_for(args.x, n / 128 + s.count), kThreads, 0, stream>>>(s);
      break;
    case SketchMethod::kGaussian:
      draw_gaussian<T><<<blocks_for(args.x, n / 4 + s.count), kThreads, 0, stream>>>(s);
      break;
    case SketchMethod::kSrht: {
      const auto padded =
          static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(args.rows)));
      const Tensor picked = drawn_rows(ctx, args.stream, padded, s.rank, kHadamardWord);
      draw_srht<T>
          <<<blocks_for(args.x, n), kThreads, 0, stream>>>(s, elements<std::int32_t>(picked));
      break;
    }
  }
  check_launch("draw_matrix");
}

/// parts of |x|^2, one a block.
Tensor squares_of(const Context& ctx, const Tensor& x) {
  const int blocks = blocks_for(x, x.numel());
  const Tensor parts = ctx.empty({blocks}, DType::kF64);
  visit_gpu_real(x.dtype(), "row_sketch", [&]<typename T>() {
    square_parts<T>
        <<<blocks, kThreads, 0, stream_of(x)>>>(elements<T>(x), x.numel(), elements<double>(parts));
  });
  check_launch("square_parts");
  return parts;
}

Tensor gram(const Context& ctx, const Tensor& a) {
  const std::int64_t rank = a.dim(0);
  const Tensor out = ctx.empty({rank, rank}, DType::kF32);
  gemm(a.device(), {.m = rank,
                    .n = rank,
                    .k = a.dim(1),
                    .a = matrix_of(a),
                    .b = matrix_of(a, Transpose::kYes),
                    .c = matrix_of(out)});
  return out;
}

}  // namespace

void row_sketch(const Context& ctx, const DeviceDenseSketch& args) {
  const std::int64_t rank = args.out.dim(0);
  const std::int64_t count = args.x.dim(0);
  const Tensor matrix = ctx.empty({rank, count}, args.x.dtype());
  visit_gpu_real(args.x.dtype(), "row_sketch", [&]<typename T>() {
    draw_matrix<T>(ctx, args,
                   {.stream = philox_stream(args.stream),
                    .rank = rank,
                    .first = args.first_row,
                    .count = count,
                    .out = elements<T>(matrix)});
  });
  gemm(args.x.device(), {.m = rank,
                         .n = args.columns,
                         .k = count,
                         .a = matrix_of(matrix),
                         .b = matrix_of(args.x),
                         .c = matrix_of(args.out),
                         .alpha = static_cast<float>(1.0 / std::sqrt(static_cast<double>(rank))),
                         .beta = args.accumulate ? 1.0F : 0.0F});
}

void row_sketch(const Context& ctx, const SketchGamma& args) {
  const Tensor parts = squares_of(ctx, args.sketch);
  find_gamma<<<1, kSumThreads, 0, stream_of(parts)>>>(
      elements<double>(parts), static_cast<int>(parts.dim(0)), elements<double>(args.squared_norm),
      args.eps, args.gamma_max, elements<double>(args.gamma));
  check_launch("find_gamma");
}

void row_sketch(const Context& ctx, const PickRows& args) {
  const std::int64_t rows = args.lengths.dim(0);
  SortRows sorted{.keys = args.lengths, .order = ctx.empty({rows}, DType::kI32), .end_bit = 32};
  const cudaStream_t stream = stream_of(args.lengths);
  number_rows<<<blocks_for(args.lengths, rows), kThreads, 0, stream>>>(
      rows, elements<std::int32_t>(sorted.order));
  check_launch("number_rows");
  sort_rows(ctx, sorted);
  const Tensor prefix = ctx.empty({rows}, DType::kF64);
  pick_by_length<<<1, kSumThreads, 0, stream>>>(
      elements<float>(sorted.keys), elements<std::int32_t>(sorted.order), rows, args.picked.dim(0),
      args.keeps_largest, philox_stream(args.stream), elements<double>(prefix),
      elements<std::int32_t>(args.picked), elements<float>(args.weights));
  check_launch("pick_by_length");
}

void row_sketch(const Context& /*ctx*/, const NormProducts& args) {
  add_norm_products<<<1, kSumThreads, 0, stream_of(args.sum)>>>(
      elements<float>(args.x_norms), elements<float>(args.dy_norms), args.dy_norms.dim(0),
      elements<double>(args.sum));
  check_launch("add_norm_products");
}

// |dy^T x|^2 is the sum over pairs of rows of (their product in dy) (their product in x).
void row_sketch(const Context& ctx, const WienerFactor& args) {
  const Tensor of_dy = gram(ctx, args.dy);
  const Tensor of_x = gram(ctx, args.x);
  const int blocks = blocks_for(of_x, of_x.numel());
  const Tensor parts = ctx.empty({blocks}, DType::kF64);
  const cudaStream_t stream = stream_of(args.x);
  multiply_parts<<<blocks, kThreads, 0, stream>>>(elements<float>(of_dy), elements<float>(of_x),
                                                  of_x.numel(), elements<double>(parts));
  check_launch("multiply_parts");
  find_wiener_factor<<<1, kSumThreads, 0, stream>>>(
      elements<double>(parts), blocks,
      {.x_squared = elements<double>(args.x_squared),
       .dy_squared = elements<double>(args.dy_squared),
       .norm_products = elements<double>(args.norm_products),
       .collision = args.collision,
       .decay = args.decay,
       .means = elements<double>(args.means),
       .factor = elements<double>(args.factor)});
  check_launch("find_wiener_factor");
}

void row_sketch(const Context& /*ctx*/, const ScaleSketch& args) {
  const std::int64_t n = args.x.numel();
  visit_gpu_real(args.x.dtype(), "row_sketch", [&]<typename T>() {
    visit_gpu_real(args.out.dtype(), "row_sketch", [&]<typename Out>() {
      scale_elements<T, Out><<<blocks_for(args.x, n), kThreads, 0, stream_of(args.x)>>>(
          args.constant, elements<float>(args.cotangent), elements<double>(args.factors[0]),
          elements<double>(args.factors[1]), elements<double>(args.factors[2]), elements<T>(args.x),
          n, elements<Out>(args.out));
    });
  });
  check_launch("scale_elements");
}

}  // namespace ghost::cuda
