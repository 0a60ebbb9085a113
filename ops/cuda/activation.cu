#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/activation_kernels.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/sigmoid.cuh"

namespace ghost::cuda {
namespace {

struct GeluErf {
  // With Phi and phi of the standard normal distribution: f = x Phi(x), f' = Phi(x) + x phi(x).
  static __device__ float normal_cdf(float x) { return 0.5F * (1.0F + erff(x * 0.707106781F)); }
  static __device__ float value(float x) { return x * normal_cdf(x); }
  static __device__ float derivative(float x) {
    constexpr float kDensityAtZero = 0.398942280F;  // 1 / sqrt(2 pi)
    return normal_cdf(x) + x * kDensityAtZero * __expf(-0.5F * x * x);
  }
};

struct GeluTanh {
  // (1 + tanh(u)) / 2 = sigmoid(2u): with s = sigmoid(2u) and u = slope (x + cubic x^3), f = x s
  // and f' = s + 2 x s (1 - s) u'.
  static constexpr float kSlope = 0.797884561F;  // sqrt(2 / pi)
  static constexpr float kCubic = 0.044715F;

  static __device__ float gate(float x) {
    return sigmoid(2.0F * kSlope * x * (1.0F + kCubic * x * x));
  }
  static __device__ float value(float x) { return x * gate(x); }
  static __device__ float derivative(float x) {
    const float s = gate(x);
    return s + 2.0F * x * s * (1.0F - s) * kSlope * (1.0F + 3.0F * kCubic * x * x);
  }
};

struct Silu {
  static __device__ float value(float x) { return x * sigmoid(x); }
  static __device__ float derivative(float x) {
    const float s = sigmoid(x);
    return s * (1.0F + x * (1.0F - s));
  }
};

struct Tanh {
  static __device__ float value(float x) { return tanhf(x); }
  static __device__ float derivative(float x) {
    const float y = tanhf(x);
    return 1.0F - y * y;
  }
};

struct Relu {
  static __device__ float value(float x) { return x < 0.0F ? 0.0F : x; }  // so that NaN stays NaN
  static __device__ float derivative(float x) { return x > 0.0F ? 1.0F : 0.0F; }
};

// 16 bytes a thread. Traffic: x and y once, the derivative once where it is asked for.
template <typename Function, typename T>
__global__ void __launch_bounds__(kThreads)
    apply_function(const T* __restrict__ x, T* __restrict__ y, T* __restrict__ derivative,
                   std::int64_t n, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float in[kLanes];
    float out[kLanes];
    load_lanes<kLanes>(x + i, n - i, is_aligned, in);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      out[lane] = Function::value(in[lane]);
    }
    store_lanes<kLanes>(y + i, n - i, is_aligned, out);
    if (derivative != nullptr) {
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        out[lane] = Function::derivative(in[lane]);
      }
      store_lanes<kLanes>(derivative + i, n - i, is_aligned, out);
    }
  });
}

/// The derivative has been kept: its value is itself.
struct Kept {
  static __device__ float derivative(float x) { return x; }
};

// dx = dy * f'(x) for P cotangents; f'(x) stays in registers. Traffic: x once, dy and dx once each.
template <typename Function, typename T>
__global__ void __launch_bounds__(kThreads)
    multiply_by_derivative(const T* __restrict__ x, const T* __restrict__ dy, T* __restrict__ dx,
                           std::int64_t n, std::int64_t basis, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float derivative[kLanes];
    load_lanes<kLanes>(x + i, n - i, is_aligned, derivative);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      derivative[lane] = Function::derivative(derivative[lane]);
    }
    for (std::int64_t p = 0; p < basis; ++p) {
      float cotangent[kLanes];
      load_lanes<kLanes>(dy + p * n + i, n - i, is_aligned, cotangent);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        cotangent[lane] *= derivative[lane];
      }
      store_lanes<kLanes>(dx + p * n + i, n - i, is_aligned, cotangent);
    }
  });
}

template <typename Function>
void forward(const ActivationForward& args) {
  const std::int64_t n = args.x.numel();
  visit_gpu_real(args.x.dtype(), "activation", [&]<typename T>() {
    T* derivative = elements<T>(args.derivative);
    const bool is_aligned = are_aligned(args.x.raw(), args.y.raw(), derivative);
    const int blocks = num_blocks(args.x.device(), n, kThreads, kVectorLanes<T>);
    apply_function<Function, T><<<blocks, kThreads, 0, stream_of(args.x)>>>(
        elements<T>(args.x), elements<T>(args.y), derivative, n, is_aligned);
  });
  check_launch("apply_function");
}

template <typename Function>
void backward(const Tensor& x, const Tensor& dy, const Tensor& dx) {
  const std::int64_t n = x.numel();
  const std::int64_t basis = dy.dim(0);
  visit_gpu_real(dy.dtype(), "activation", [&]<typename T>() {
    const bool is_aligned =
        are_aligned(x.raw(), dy.raw(), dx.raw()) && (basis == 1 || n % kVectorLanes<T> == 0);
    const int blocks = num_blocks(dy.device(), n, kThreads, kVectorLanes<T>);
    multiply_by_derivative<Function, T><<<blocks, kThreads, 0, stream_of(dy)>>>(
        elements<T>(x), elements<T>(dy), elements<T>(dx), n, basis, is_aligned);
  });
  check_launch("multiply_by_derivative");
}

// Calls `visit.operator()<Function>()`.
template <typename Visit>
void visit_function(ActivationKind kind, Visit&& visit) {
  switch (kind) {
    case ActivationKind::kGeluErf:
      return visit.template operator()<GeluErf>();
    case ActivationKind::kGeluTanh:
      return visit.template operator()<GeluTanh>();
    case ActivationKind::kSilu:
      return visit.template operator()<Silu>();
    case ActivationKind::kTanh:
      return visit.template operator()<Tanh>();
    case ActivationKind::kRelu:
      return visit.template operator()<Relu>();
  }
}

}  // namespace

void activation(const ActivationForward& args) {
  visit_function(args.kind, [&]<typename Function>() { forward<Function>(args); });
}

void activation(const ActivationBackward& args) {
  visit_function(args.kind,
                 [&]<typename Function>() { backward<Function>(args.x, args.dy, args.dx); });
}

void activation(const ActivationDerivativeBackward& args) {
  backward<Kept>(args.derivative, args.dy, args.dx);
}

}  // namespace ghost::cuda
