#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "ops/cpu/flush_denormals.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/streaming.h"
#include "ops/optim/cpu/grad_scale.h"
#include "ops/optim/optim_kernels.h"

namespace ghost::cpu {
namespace {

// Elements that are looked at together for something to do: one row of a narrow embedding.
constexpr std::int64_t kBlock = 64;
// Elements a thread takes at a time: an even share of the elements is not one of the work where
// rows of an embedding rest.
constexpr std::int64_t kPiece = 1 << 16;

template <typename T>
void update_plain(const SgdUpdate& args) {
  T* __restrict__ p = args.values.data<T>();
  const T* __restrict__ g = args.grads.data<T>();
  const auto grad_scale = static_cast<T>(grad_scale_of(args.grad_scale));
  const auto lr = static_cast<T>(args.lr);
  const auto weight_decay = static_cast<T>(args.weight_decay);
  const std::int64_t n = args.values.numel();
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
  for (std::int64_t i = 0; i < n; ++i) {
    p[i] -= lr * (g[i] * grad_scale + weight_decay * p[i]);
  }
}

// One pass: reads p, g, m and writes p, m, 5 words of traffic an element; of an embedding, whose
// gradient is zero but for few rows, 4, and 1 where no momentum is left. Elements do not meet, so
// the result does not depend on the number of threads.
template <typename T>
void update_with_momentum(const SgdUpdate& args) {
  const auto grad_scale = static_cast<T>(grad_scale_of(args.grad_scale));
  const auto lr = static_cast<T>(args.lr);
  const auto weight_decay = static_cast<T>(args.weight_decay);
  const auto momentum = static_cast<T>(args.momentum);
  // p -= lr * (of_grad * grad + of_average * m) covers both forms without a branch in the loop.
  const T of_grad = args.is_nesterov ? T{1} : T{0};
  const T of_average = args.is_nesterov ? momentum : T{1};
  const std::int64_t n = args.values.numel();
  static constexpr T kNoGradient[kBlock] = {};
  const auto is_zero_block = [&](std::int64_t element) {
    return args.zeros->is_zero((args.offset + element) / ZeroBlocks::kElements);
  };
#pragma omp parallel if (n > kParallelElements)
  {
    const FlushDenormals flush;
#pragma omp for schedule(dynamic)
    for (std::int64_t piece = 0; piece < n; piece += kPiece) {
      for (std::int64_t begin = piece; begin < std::min(n, piece + kPiece); begin += kBlock) {
        T* __restrict__ p = args.values.data<T>() + begin;
        T* __restrict__ m = args.average.data<T>() + begin;
        const std::int64_t size = std::min(kBlock, n - begin);
        const bool has_gradient = !is_zero_block(begin) || !is_zero_block(begin + size - 1);
        const T* __restrict__ g = has_gradient ? args.grads.data<T>() + begin : kNoGradient;
        prefetch_ahead(m, size);
        if (has_gradient) {
          prefetch_ahead(g, size);
        } else if (weight_decay == 0 && is_zero(m, size)) {
          continue;
        }
#pragma omp simd
        for (std::int64_t i = 0; i < size; ++i) {
          const T grad = g[i] * grad_scale + weight_decay * p[i];
          m[i] = momentum * m[i] + grad;
          p[i] -= lr * (of_grad * grad + of_average * m[i]);
        }
      }
    }
  }
}

}  // namespace

void sgd(const SgdUpdate& args) {
  if (std::isnan(grad_scale_of(args.grad_scale))) {
    return;
  }
  visit_real(args.values.dtype(), [&]<typename T>() {
    args.average.defined() ? update_with_momentum<T>(args) : update_plain<T>(args);
  });
  if (args.working.defined()) {
    cast(args.working, args.values);
  }
}

}  // namespace ghost::cpu
