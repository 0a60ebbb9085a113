#include <algorithm>
#include <cmath>

#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/linear_cross_entropy_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
T row_maximum(const T* logits, std::int64_t cols) {
  T largest = logits[0];
#pragma omp simd reduction(max : largest)
  for (std::int64_t c = 0; c < cols; ++c) {
    largest = std::max(largest, logits[c]);
  }
  return largest;
}

template <typename T>
T row_log_sum_exp(const T* logits, std::int64_t cols) {
  const T largest = row_maximum(logits, cols);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < cols; ++c) {
    sum += vector_exp(logits[c] - largest);
  }
  return largest + std::log(sum);
}

// The same, and the logits become scale * softmax: each exponential is formed once.
template <typename T>
T softmax_row(T* logits, T scale, std::int64_t cols) {
  const T largest = row_maximum(logits, cols);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < cols; ++c) {
    logits[c] = vector_exp(logits[c] - largest);
    sum += logits[c];
  }
  const T factor = scale / sum;
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    logits[c] *= factor;
  }
  return largest + std::log(sum);
}

// Logits become dlogits; the padding behind vocab_size has none.
template <typename T>
void gradient_of_row(T* logits, T lse, std::int32_t target, std::int32_t ignore_index, T scale,
                     std::int64_t vocab_size, std::int64_t padded_vocab) {
  std::fill(logits + vocab_size, logits + padded_vocab, T{0});
  if (target == ignore_index) {
    std::fill_n(logits, vocab_size, T{0});
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < vocab_size; ++c) {
    logits[c] = scale * vector_exp(logits[c] - lse);
  }
  logits[target] -= scale;
}

template <typename T>
void losses(const CrossEntropyLoss& args) {
  const std::int64_t rows = args.targets.numel();
  const std::int64_t padded_vocab = args.logits.dim(-1);
  const std::int32_t* targets = args.targets.data<std::int32_t>();
  const T scale = static_cast<T>(args.scale);
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < rows; ++i) {
    T* logits = args.logits.data<T>() + i * padded_vocab;
    const std::int32_t target = targets[i];
    const bool counts = target != args.ignore_index;
    const T of_target = counts ? logits[target] : T{0};
    T lse = 0;
    if (!args.makes_gradient) {
      lse = row_log_sum_exp(logits, args.vocab_size);
    } else if (counts) {
      lse = softmax_row(logits, scale, args.vocab_size);
      logits[target] -= scale;
      std::fill(logits + args.vocab_size, logits + padded_vocab, T{0});
    } else {
      std::fill_n(logits, padded_vocab, T{0});
    }
    args.lse.data<T>()[i] = lse;
    args.losses.data<T>()[i] = counts ? lse - of_target : T{0};
  }
}

template <typename T>
void gradient(const CrossEntropyGradient& args) {
  const std::int64_t rows = args.targets.numel();
  const std::int64_t padded_vocab = args.logits.dim(-1);
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < rows; ++i) {
    gradient_of_row(args.logits.data<T>() + i * padded_vocab, args.lse.data<T>()[i],
                    args.targets.data<std::int32_t>()[i], args.ignore_index,
                    static_cast<T>(args.scale), args.vocab_size, padded_vocab);
  }
}

}  // namespace

void linear_cross_entropy(const CrossEntropyCount& args) {
  const std::int32_t* values = args.targets.data<std::int32_t>();
  *args.count = 0;
  for (std::int64_t i = 0; i < args.targets.numel(); ++i) {
    if (values[i] == args.ignore_index) {
      continue;
    }
    GHOST_CHECK(values[i] >= 0 && values[i] < args.vocab_size,
                "linear_cross_entropy: target {} at position {}; expected less than vocab_size {}",
                values[i], i, args.vocab_size);
    ++*args.count;
  }
  GHOST_CHECK(*args.count > 0, "linear_cross_entropy: all {} targets are ignore_index {}",
              args.targets.numel(), args.ignore_index);
}

void linear_cross_entropy(const CrossEntropyLoss& args) {
  visit_real(args.logits.dtype(), [&]<typename T>() { losses<T>(args); });
}

void linear_cross_entropy(const CrossEntropyGradient& args) {
  visit_real(args.logits.dtype(), [&]<typename T>() { gradient<T>(args); });
}

void linear_cross_entropy(const CrossEntropyMean& args) {
  visit_real(args.loss.dtype(), [&]<typename T>() {
    double sum = 0;
    for (const T loss : args.losses.span<T>()) {
      sum += static_cast<double>(loss);
    }
    *args.loss.data<T>() = static_cast<T>(sum / static_cast<double>(args.count));
  });
}

void linear_cross_entropy(const CrossEntropyScale& args) {
  const std::int64_t n = args.x.numel();
  visit_real(args.x.dtype(), [&]<typename T>() {
    const T* x = args.x.data<T>();
    for (std::int64_t p = 0; p < args.dloss.dim(0); ++p) {
      const T dloss = args.dloss.data<T>()[p];
      T* out = args.out.data<T>() + p * n;
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
      for (std::int64_t i = 0; i < n; ++i) {
        out[i] = dloss * x[i];
      }
    }
  });
}

}  // namespace ghost::cpu
