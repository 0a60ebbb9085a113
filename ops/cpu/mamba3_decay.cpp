#include <cmath>

#include "ops/cpu/parallel.h"
#include "ops/mamba3_decay_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
struct ValueAndSlope {
  T value;
  T slope;
};

// Not log(exp(x) + 1), which is 0 in f32 below -17: steps start that small.
template <typename T>
ValueAndSlope<T> softplus(T x) {
  constexpr T kLinear = 20;
  if (x > kLinear) {
    return {.value = x, .slope = 1};
  }
  const T e = std::exp(x);
  return {.value = std::log1p(e), .slope = e / (1 + e)};
}

template <typename T>
ValueAndSlope<T> heavy_tail(T x) {
  const T value = x >= 0 ? 1 + x : 1 / (1 - x);
  return {.value = value, .slope = x >= 0 ? T{1} : value * value};
}

/// max(f, floor) and its slope.
template <typename T>
ValueAndSlope<T> rate(T x, const Mamba3DecayOptions& options) {
  const ValueAndSlope<T> f =
      options.activation == DecayActivation::kSoftplus ? softplus(x) : heavy_tail(x);
  const auto floor = static_cast<T>(options.floor);
  return f.value >= floor ? f : ValueAndSlope<T>{.value = floor, .slope = 0};
}

template <typename T>
void forward(const Mamba3DecayForward& args) {
  const std::int64_t heads = args.dt_bias.numel();
  const std::int64_t count = args.dd_dt.numel();
  const T* dd_dt = args.dd_dt.data<T>();
  const T* dd_a = args.dd_a.data<T>();
  const T* dt_bias = args.dt_bias.data<T>();
  T* dt = args.dt.data<T>();
  T* a = args.a.data<T>();
#pragma omp parallel for schedule(static) if (count > kParallelElements)
  for (std::int64_t i = 0; i < count; ++i) {
    dt[i] = softplus(dd_dt[i] + dt_bias[i % heads]).value;
    a[i] = -rate(dd_a[i], args.options).value * dt[i];
  }
}

// Threads own whole heads, so the order of additions to the bias is fixed.
template <typename T>
void backward(const Mamba3DecayBackward& args) {
  const std::int64_t heads = args.dt_bias.numel();
  const std::int64_t count = args.dd_dt.numel();
  const std::int64_t basis = args.grad_dt.dim(0);
#pragma omp parallel for schedule(static) if (basis * count > kParallelElements)
  for (std::int64_t head = 0; head < heads; ++head) {
    T dbias = 0;
    for (std::int64_t i = head; i < count; i += heads) {
      const ValueAndSlope<T> step =
          softplus(args.dd_dt.data<T>()[i] + args.dt_bias.data<T>()[head]);
      const ValueAndSlope<T> decay = rate(args.dd_a.data<T>()[i], args.options);
      for (std::int64_t p = 0; p < basis; ++p) {
        const std::int64_t at = p * count + i;
        const T da = args.grad_a.data<T>()[at];
        const T dpre = (args.grad_dt.data<T>()[at] - decay.value * da) * step.slope;
        dbias += dpre;
        if (args.grad_dd_dt.defined()) {
          args.grad_dd_dt.data<T>()[at] = dpre;
        }
        if (args.grad_dd_a.defined()) {
          args.grad_dd_a.data<T>()[at] = -step.value * da * decay.slope;
        }
      }
    }
    if (args.grad_dt_bias.defined()) {
      args.grad_dt_bias.data<T>()[head] += dbias;
    }
  }
}

}  // namespace

void mamba3_decay(const Mamba3DecayForward& args) {
  visit_real(args.dd_dt.dtype(), [&]<typename T>() { forward<T>(args); });
}

void mamba3_decay(const Mamba3DecayBackward& args) {
  visit_real(args.dd_dt.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
