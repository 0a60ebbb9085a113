#include <cmath>

#include "ops/cpu/flush_denormals.h"
#include "ops/cpu/parallel.h"
#include "ops/optim/cpu/grad_scale.h"
#include "ops/optim/optim_kernels.h"

namespace ghost::cpu {
namespace {

// One pass: reads p, g, m, v and writes p, m, v, 7 words of traffic an element, and half a word of
// a working copy. Elements do not meet, so the result does not depend on the number of threads.
template <typename T, bool kHasWorking>
void update(const AdamWUpdate& args) {
  T* __restrict__ p = args.values.data<T>();
  const T* __restrict__ g = args.grads.data<T>();
  T* __restrict__ m = args.exp_avg.data<T>();
  T* __restrict__ v = args.exp_avg_sq.data<T>();
  BFloat16* __restrict__ working = kHasWorking ? args.working.data<BFloat16>() : nullptr;
  const auto grad_scale = static_cast<T>(grad_scale_of(args.grad_scale));
  const auto beta1 = static_cast<T>(args.beta1);
  const auto beta2 = static_cast<T>(args.beta2);
  const auto rest1 = static_cast<T>(1 - args.beta1);
  const auto rest2 = static_cast<T>(1 - args.beta2);
  const auto eps = static_cast<T>(args.eps);
  const auto keep_fraction = static_cast<T>(args.keep_fraction);
  const auto step_size = static_cast<T>(args.step_size);
  const auto root_scale = static_cast<T>(args.root_scale);
  const std::int64_t n = args.values.numel();
#pragma omp parallel if (n > kParallelElements)
  {
    const FlushDenormals flush;
#pragma omp for simd schedule(static)
    for (std::int64_t i = 0; i < n; ++i) {
      const T grad = g[i] * grad_scale;
      m[i] = beta1 * m[i] + rest1 * grad;
      v[i] = beta2 * v[i] + rest2 * grad * grad;
      p[i] = keep_fraction * p[i] - step_size * m[i] / (std::sqrt(v[i]) * root_scale + eps);
      if constexpr (kHasWorking) {
        put(working[i], static_cast<float>(p[i]));
      }
    }
  }
}

}  // namespace

void adamw(const AdamWUpdate& args) {
  if (std::isnan(grad_scale_of(args.grad_scale))) {
    return;
  }
  visit_real(args.values.dtype(), [&]<typename T>() {
    args.working.defined() ? update<T, true>(args) : update<T, false>(args);
  });
}

}  // namespace ghost::cpu
