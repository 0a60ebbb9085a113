#include <algorithm>
#include <array>
#include <numbers>

#include "ops/activation_kernels.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"

namespace ghost::cpu {
namespace {

constexpr std::int64_t kPiece = 1024;

template <typename T>
struct GeluErf {
  // With Phi and phi of the standard normal distribution: f = x Phi(x), f' = Phi(x) + x phi(x).
  static T normal_cdf(T x) {
    return T(0.5) * (1 + vector_erf(x * static_cast<T>(std::numbers::sqrt2 / 2)));
  }
  static T value(T x) { return x * normal_cdf(x); }
  static T derivative(T x) {
    constexpr T kDensityAtZero = static_cast<T>(std::numbers::inv_sqrtpi * std::numbers::sqrt2 / 2);
    return normal_cdf(x) + x * kDensityAtZero * vector_exp(T(-0.5) * x * x);
  }
};

template <typename T>
struct GeluTanh {
  static constexpr T kSlope =
      static_cast<T>(std::numbers::sqrt2 * std::numbers::inv_sqrtpi);  // sqrt(2 / pi)
  static constexpr T kCubic = static_cast<T>(0.044715);

  static T curve(T x) { return vector_tanh(kSlope * x * (1 + kCubic * x * x)); }
  static T value(T x) { return T(0.5) * x * (1 + curve(x)); }
  static T derivative(T x) {
    const T t = curve(x);
    return T(0.5) * (1 + t + x * (1 - t * t) * kSlope * (1 + 3 * kCubic * x * x));
  }
};

template <typename T>
struct Silu {
  static T value(T x) { return vector_silu(x); }
  static T derivative(T x) { return silu_derivative(x, vector_sigmoid(x)); }
};

template <typename T>
struct Tanh {
  static T value(T x) { return vector_tanh(x); }
  static T derivative(T x) {
    const T y = vector_tanh(x);
    return 1 - y * y;
  }
};

template <typename T>
struct Relu {
  static T value(T x) { return x < 0 ? T{0} : x; }  // so that NaN stays NaN
  static T derivative(T x) { return x > 0 ? T{1} : T{0}; }
};

// In pieces: the compiler leaves `value` scalar in one loop shared out among threads.
template <typename Function, typename T>
void forward(const ActivationForward& args) {
  const std::int64_t n = args.x.numel();
#pragma omp parallel for schedule(static) if (n > kParallelElements)
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t size = std::min(kPiece, n - begin);
    const T* x = args.x.data<T>() + begin;
    T* y = args.y.data<T>() + begin;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      put(y[i], Function::value(widen(x[i])));
    }
    if (args.derivative.defined()) {
      T* derivative = args.derivative.data<T>() + begin;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) {
        put(derivative[i], Function::derivative(widen(x[i])));
      }
    }
  }
}

// The derivative of a piece of x stays in L1 while all P cotangents pass over it.
template <typename Function, typename T>
void backward(const ActivationBackward& args) {
  const std::int64_t n = args.x.numel();
  const std::int64_t basis = args.dy.dim(0);
#pragma omp parallel for schedule(static) if (basis * n > kParallelElements)
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t size = std::min(kPiece, n - begin);
    const T* x = args.x.data<T>() + begin;
    std::array<RealOf<T>, kPiece> derivative;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      derivative[static_cast<std::size_t>(i)] = Function::derivative(widen(x[i]));
    }
    for (std::int64_t p = 0; p < basis; ++p) {
      const T* dy = args.dy.data<T>() + p * n + begin;
      T* dx = args.dx.data<T>() + p * n + begin;
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) {
        put(dx[i], widen(dy[i]) * derivative[static_cast<std::size_t>(i)]);
      }
    }
  }
}

template <typename T>
void multiply(const ActivationDerivativeBackward& args) {
  const std::int64_t n = args.derivative.numel();
  const std::int64_t basis = args.dy.dim(0);
  const T* derivative = args.derivative.data<T>();
#pragma omp parallel for schedule(static) if (basis * n > kParallelElements)
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t end = std::min(n, begin + kPiece);
    for (std::int64_t p = 0; p < basis; ++p) {
      const T* dy = args.dy.data<T>() + p * n;
      T* dx = args.dx.data<T>() + p * n;
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        put(dx[i], widen(dy[i]) * widen(derivative[i]));
      }
    }
  }
}

// Calls `visit.operator()<Function, T>()`.
template <typename Visit>
void visit_function(ActivationKind kind, DType dtype, Visit&& visit) {
  visit_floating(dtype, [&]<typename T>() {
    switch (kind) {
      case ActivationKind::kGeluErf:
        return visit.template operator()<GeluErf<RealOf<T>>, T>();
      case ActivationKind::kGeluTanh:
        return visit.template operator()<GeluTanh<RealOf<T>>, T>();
      case ActivationKind::kSilu:
        return visit.template operator()<Silu<RealOf<T>>, T>();
      case ActivationKind::kTanh:
        return visit.template operator()<Tanh<RealOf<T>>, T>();
      case ActivationKind::kRelu:
        return visit.template operator()<Relu<RealOf<T>>, T>();
    }
  });
}

}  // namespace

void activation(const ActivationForward& args) {
  visit_function(args.kind, args.x.dtype(),
                 [&]<typename Function, typename T>() { forward<Function, T>(args); });
}

void activation(const ActivationBackward& args) {
  visit_function(args.kind, args.x.dtype(),
                 [&]<typename Function, typename T>() { backward<Function, T>(args); });
}

void activation(const ActivationDerivativeBackward& args) {
  visit_floating(args.dy.dtype(), [&]<typename T>() { multiply<T>(args); });
}

}  // namespace ghost::cpu
