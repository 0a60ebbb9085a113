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
  using Real = RealOf<T>;
  const std::int64_t heads = args.dt_bias.numel();
  const std::int64_t count = args.dd_dt.numel();
  const T* dd_dt = args.dd_dt.data<T>();
  const T* dd_a = args.dd_a.data<T>();
  const Real* dt_bias = args.dt_bias.data<Real>();
  Real* dt = args.dt.data<Real>();
  Real* a = args.a.data<Real>();
#pragma omp parallel for schedule(static) if (count > kParallelElements)
  for (std::int64_t i = 0; i < count; ++i) {
    dt[i] = softplus(widen(dd_dt[i]) + dt_bias[i % heads]).value;
    a[i] = -rate(widen(dd_a[i]), args.options).value * dt[i];
  }
}

// Threads own whole heads, so the order of additions to the bias is fixed.
template <typename T>
void backward(const Mamba3DecayBackward& args) {
  using Real = RealOf<T>;
  const std::int64_t heads = args.dt_bias.numel();
  const std::int64_t count = args.dd_dt.numel();
  const std::int64_t basis = args.grad_dt.dim(0);
#pragma omp parallel for schedule(static) if (basis * count > kParallelElements)
  for (std::int64_t head = 0; head < heads; ++head) {
    Real dbias = 0;
    for (std::int64_t i = head; i < count; i += heads) {
      const ValueAndSlope<Real> step =
          softplus(widen(args.dd_dt.data<T>()[i]) + args.dt_bias.data<Real>()[head]);
      const ValueAndSlope<Real> decay = rate(widen(args.dd_a.data<T>()[i]), args.options);
      for (std::int64_t p = 0; p < basis; ++p) {
        const std::int64_t at = p * count + i;
        const Real da = args.grad_a.data<Real>()[at];
        const Real dpre = (args.grad_dt.data<Real>()[at] - decay.value * da) * step.slope;
        dbias += dpre;
        if (args.grad_dd_dt.defined()) {
          put(args.grad_dd_dt.data<T>()[at], dpre);
        }
        if (args.grad_dd_a.defined()) {
          put(args.grad_dd_a.data<T>()[at], -step.value * da * decay.slope);
        }
      }
    }
    if (args.grad_dt_bias.defined()) {
      args.grad_dt_bias.data<Real>()[head] += dbias;
    }
  }
}

}  // namespace

void mamba3_decay(const Mamba3DecayForward& args) {
  visit_floating(args.dd_dt.dtype(), [&]<typename T>() { forward<T>(args); });
}

void mamba3_decay(const Mamba3DecayBackward& args) {
  visit_floating(args.dd_dt.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
