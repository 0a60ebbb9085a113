#include <algorithm>
#include <cmath>

#include "ops/cpu/gemm.h"
#include "ops/cpu/vector_math.h"
#include "ops/linear_cross_entropy_kernels.h"

namespace ghost::cpu {
namespace {

std::int64_t count_targets(const Tensor& targets, std::int64_t vocab_size,
                           std::int32_t ignore_index) {
  std::int64_t count = 0;
  const std::int32_t* values = targets.data<std::int32_t>();
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    if (values[i] == ignore_index) {
      continue;
    }
    GHOST_CHECK(values[i] >= 0 && values[i] < vocab_size,
                "linear_cross_entropy: target {} at position {}; expected less than vocab_size {}",
                values[i], i, vocab_size);
    ++count;
  }
  GHOST_CHECK(count > 0, "linear_cross_entropy: all {} targets are ignore_index {}",
              targets.numel(), ignore_index);
  return count;
}

template <typename T>
T row_log_sum_exp(const T* logits, std::int64_t cols) {
  T largest = logits[0];
#pragma omp simd reduction(max : largest)
  for (std::int64_t c = 0; c < cols; ++c) {
    largest = std::max(largest, logits[c]);
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < cols; ++c) {
    sum += vector_exp(logits[c] - largest);
  }
  return largest + std::log(sum);
}

template <typename T>
void logits_of_rows(const Tensor& x, const Tensor& weight, const Tensor& logits, std::int64_t begin,
                    std::int64_t rows) {
  const std::int64_t vocab_size = weight.dim(0);
  const std::int64_t channels = weight.dim(1);
  gemm({.m = rows, .n = vocab_size, .k = channels}, T{1},
       {x.data<T>() + begin * channels, channels}, {weight.data<T>(), channels, Transpose::kYes},
       T{0}, {logits.data<T>(), vocab_size});
}

template <typename T>
void forward(const LinearCrossEntropyForward& args) {
  const std::int64_t padded_vocab = args.weight.dim(0);
  const std::int64_t rows = args.targets.numel();
  const std::int64_t chunk = args.logits.dim(0);
  const std::int32_t* targets = args.targets.data<std::int32_t>();
  const std::int64_t count = count_targets(args.targets, args.vocab_size, args.ignore_index);
  T* losses = args.losses.data<T>();
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t chunk_rows = std::min(chunk, rows - begin);
    logits_of_rows<T>(args.x, args.weight, args.logits, begin, chunk_rows);
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < chunk_rows; ++i) {
      const T* logits = args.logits.data<T>() + i * padded_vocab;
      const std::int32_t target = targets[begin + i];
      const T lse = row_log_sum_exp(logits, args.vocab_size);
      args.lse.data<T>()[begin + i] = lse;
      losses[begin + i] = target == args.ignore_index ? T{0} : lse - logits[target];
    }
  }
  double sum = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    sum += static_cast<double>(losses[i]);
  }
  *args.loss.data<T>() = static_cast<T>(sum / static_cast<double>(count));
}

// logits become dlogits, with `scale` = dloss / n.
template <typename T>
void dlogits_of_row(T* logits, T lse, std::int32_t target, std::int32_t ignore_index, T scale,
                    std::int64_t cols) {
  if (target == ignore_index) {
    std::fill_n(logits, cols, T{0});
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    logits[c] = scale * vector_exp(logits[c] - lse);
  }
  logits[target] -= scale;
}

template <typename T>
void backward(const LinearCrossEntropyBackward& args) {
  const std::int64_t padded_vocab = args.weight.dim(0);
  const std::int64_t channels = args.weight.dim(1);
  const std::int64_t rows = args.targets.numel();
  const std::int64_t chunk = args.logits.dim(0);
  const std::int64_t basis = args.dloss.dim(0);
  const std::int64_t count = count_targets(args.targets, args.vocab_size, args.ignore_index);
  const std::int32_t* targets = args.targets.data<std::int32_t>();
  const T* dloss = args.dloss.data<T>();
  T* logits = args.logits.data<T>();
  // All cotangents are multiples of one gradient: it is formed for the first and scaled after.
  const T scale = (basis == 1 ? dloss[0] : T{1}) / static_cast<T>(count);
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t chunk_rows = std::min(chunk, rows - begin);
    logits_of_rows<T>(args.x, args.weight, args.logits, begin, chunk_rows);
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < chunk_rows; ++i) {
      T* row = logits + i * padded_vocab;
      dlogits_of_row(row, args.lse.data<T>()[begin + i], targets[begin + i], args.ignore_index,
                     scale, args.vocab_size);
      std::fill(row + args.vocab_size, row + padded_vocab, T{0});
    }
    if (args.dx.defined()) {
      gemm({.m = chunk_rows, .n = channels, .k = padded_vocab}, T{1}, {logits, padded_vocab},
           {args.weight.data<T>(), channels}, T{0},
           {args.dx.data<T>() + begin * channels, channels});
    }
    if (args.dweight.defined()) {
      const bool accumulate = args.accumulate_dweight || begin > 0;
      gemm({.m = padded_vocab, .n = channels, .k = chunk_rows}, T{1},
           {logits, padded_vocab, Transpose::kYes}, {args.x.data<T>() + begin * channels, channels},
           accumulate ? T{1} : T{0}, {args.dweight.data<T>(), channels});
    }
  }
  if (args.dx.defined() && basis > 1) {
    T* first = args.dx.data<T>();
    for (std::int64_t p = basis; p-- > 0;) {
      for (std::int64_t i = 0; i < rows * channels; ++i) {
        first[p * rows * channels + i] = dloss[p] * first[i];
      }
    }
  }
}

}  // namespace

void linear_cross_entropy(const LinearCrossEntropyForward& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void linear_cross_entropy(const LinearCrossEntropyBackward& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
