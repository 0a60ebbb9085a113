#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "ops/cuda/column_sums.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/mamba3_decay_kernels.h"

namespace ghost::cuda {
namespace {

struct ValueAndSlope {
  float value;
  float slope;
};

// As on the CPU: log1p keeps the digits of small steps.
__device__ __forceinline__ ValueAndSlope softplus(float x) {
  constexpr float kLinear = 20;
  if (x > kLinear) {
    return {x, 1};
  }
  const float e = expf(x);
  return {log1pf(e), e / (1 + e)};
}

__device__ __forceinline__ ValueAndSlope heavy_tail(float x) {
  const float value = x >= 0 ? 1 + x : 1 / (1 - x);
  return {value, x >= 0 ? 1.0F : value * value};
}

/// max(f, floor) and its slope.
template <DecayActivation kActivation>
__device__ __forceinline__ ValueAndSlope rate(float x, float floor) {
  const ValueAndSlope f = kActivation == DecayActivation::kSoftplus ? softplus(x) : heavy_tail(x);
  return f.value >= floor ? f : ValueAndSlope{floor, 0};
}

// One element a thread: a token has few heads. Traffic: dd_dt, dd_a, dt and a once.
template <DecayActivation kActivation, typename T>
__global__ void __launch_bounds__(kThreads)
    steps_and_decays(const T* __restrict__ dd_dt, const T* __restrict__ dd_a,
                     const float* __restrict__ dt_bias, float* __restrict__ dt,
                     float* __restrict__ a, std::int64_t n, std::int64_t heads, float floor) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    const float step = softplus(to_float(dd_dt[i]) + dt_bias[i % heads]).value;
    dt[i] = step;
    a[i] = -rate<kActivation>(to_float(dd_a[i]), floor).value * step;
  }
}

template <typename T>
struct DecayBackward {
  const T* dd_dt;        // [n]
  const T* dd_a;         // [n]
  const float* dt_bias;  // [heads]
  const float* grad_dt;  // [P, n]
  const float* grad_a;   // [P, n]
  T* grad_dd_dt;         // [P, n] or null
  T* grad_dd_a;          // [P, n] or null
  std::int64_t n;
  std::int64_t heads;
  std::int64_t basis;
  float floor;
};

// As above; the slopes stay in registers while all P cotangents pass.
template <DecayActivation kActivation, typename T>
__global__ void __launch_bounds__(kThreads) steps_and_decays_backward(const DecayBackward<T> args) {
  for (std::int64_t i = first_index(); i < args.n; i += index_stride()) {
    const ValueAndSlope step = softplus(to_float(args.dd_dt[i]) + args.dt_bias[i % args.heads]);
    const ValueAndSlope decay = rate<kActivation>(to_float(args.dd_a[i]), args.floor);
    for (std::int64_t p = 0; p < args.basis; ++p) {
      const std::int64_t at = p * args.n + i;
      const float da = args.grad_a[at];
      if (args.grad_dd_dt != nullptr) {
        args.grad_dd_dt[at] = from_float<T>((args.grad_dt[at] - decay.value * da) * step.slope);
      }
      if (args.grad_dd_a != nullptr) {
        args.grad_dd_a[at] = from_float<T>(-step.value * da * decay.slope);
      }
    }
  }
}

// Calls `visit.operator()<kActivation>()`.
template <typename Visit>
void visit_activation(DecayActivation activation, Visit&& visit) {
  switch (activation) {
    case DecayActivation::kSoftplus:
      return visit.template operator()<DecayActivation::kSoftplus>();
    case DecayActivation::kHeavyTail:
      return visit.template operator()<DecayActivation::kHeavyTail>();
  }
}

}  // namespace

void mamba3_decay(const Mamba3DecayForward& args) {
  const std::int64_t n = args.dd_dt.numel();
  visit_gpu_real(args.dd_dt.dtype(), "mamba3_decay", [&]<typename T>() {
    visit_activation(args.options.activation, [&]<DecayActivation kActivation>() {
      steps_and_decays<kActivation, T>
          <<<blocks_for(args.dd_dt, n), kThreads, 0, stream_of(args.dd_dt)>>>(
              elements<T>(args.dd_dt), elements<T>(args.dd_a), elements<float>(args.dt_bias),
              elements<float>(args.dt), elements<float>(args.a), n, args.dt_bias.numel(),
              static_cast<float>(args.options.floor));
    });
  });
  check_launch("steps_and_decays");
}

void mamba3_decay(const Mamba3DecayBackward& args) {
  const std::int64_t n = args.dd_dt.numel();
  visit_gpu_real(args.dd_dt.dtype(), "mamba3_decay", [&]<typename T>() {
    const DecayBackward<T> kernel_args{.dd_dt = elements<T>(args.dd_dt),
                                       .dd_a = elements<T>(args.dd_a),
                                       .dt_bias = elements<float>(args.dt_bias),
                                       .grad_dt = elements<float>(args.grad_dt),
                                       .grad_a = elements<float>(args.grad_a),
                                       .grad_dd_dt = elements<T>(args.grad_dd_dt),
                                       .grad_dd_a = elements<T>(args.grad_dd_a),
                                       .n = n,
                                       .heads = args.dt_bias.numel(),
                                       .basis = args.grad_dt.dim(0),
                                       .floor = static_cast<float>(args.options.floor)};
    visit_activation(args.options.activation, [&]<DecayActivation kActivation>() {
      steps_and_decays_backward<kActivation, T>
          <<<blocks_for(args.dd_dt, n), kThreads, 0, stream_of(args.dd_dt)>>>(kernel_args);
    });
  });
  check_launch("steps_and_decays_backward");
  if (args.grad_dt_bias.defined()) {
    column_sums(args.grad_dd_dt, args.bias_partial, args.grad_dt_bias, /*accumulate=*/true);
  }
}

}  // namespace ghost::cuda
