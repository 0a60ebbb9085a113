#include "ops/cpu/parallel.h"
#include "ops/optim/optim_kernels.h"

namespace ghost::cpu {
namespace {

// One pass over all buffers. Elements do not meet, so the result does not depend on the number of
// threads.
template <typename T>
void update(const SgdUpdate& args) {
  T* __restrict__ p = args.values.data<T>();
  const T* __restrict__ g = args.grads.data<T>();
  const auto grad_scale = static_cast<T>(args.grad_scale);
  const auto lr = static_cast<T>(args.lr);
  const auto weight_decay = static_cast<T>(args.weight_decay);
  const std::int64_t n = args.values.numel();
  if (!args.average.defined()) {
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      p[i] -= lr * (g[i] * grad_scale + weight_decay * p[i]);
    }
    return;
  }
  T* __restrict__ m = args.average.data<T>();
  const auto momentum = static_cast<T>(args.momentum);
  // p -= lr * (of_grad * grad + of_average * m) covers both forms without a branch in the loop.
  const T of_grad = args.is_nesterov ? T{1} : T{0};
  const T of_average = args.is_nesterov ? momentum : T{1};
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
  for (std::int64_t i = 0; i < n; ++i) {
    const T grad = g[i] * grad_scale + weight_decay * p[i];
    m[i] = momentum * m[i] + grad;
    p[i] -= lr * (of_grad * grad + of_average * m[i]);
  }
}

}  // namespace

void sgd(const SgdUpdate& args) {
  visit_real(args.values.dtype(), [&]<typename T>() { update<T>(args); });
}

}  // namespace ghost::cpu
