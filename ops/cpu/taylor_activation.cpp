#include "engine/tensor/primitives.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/taylor_activation_kernels.h"

namespace ghost::cpu {
namespace {

/// A function and its first three derivatives at one place.
template <typename T>
struct Derivatives {
  T value;
  T first;
  T second;
  T third;
};

template <typename T>
struct Tanh {
  static Derivatives<T> at(T v) {
    const T t = vector_tanh(v);
    const T first = 1 - t * t;
    return {t, first, -2 * t * first, first * (6 * t * t - 2)};
  }
};

template <typename T>
struct Identity {
  static Derivatives<T> at(T v) { return {v, T{1}, T{0}, T{0}}; }
};

struct Sizes {
  std::int64_t coordinates;
  std::int64_t points;
  std::int64_t channels;
  std::int64_t plane() const { return points * channels; }
};

Sizes sizes_of(const Tensor& z) {
  return {.coordinates = z.dim(0) - 2, .points = z.dim(1), .channels = z.dim(2)};
}

template <typename Function, typename T>
void forward(const TaylorActivationForward& args) {
  const Sizes size = sizes_of(args.z);
  const std::int64_t plane = size.plane();
  const T* bias = args.bias.defined() ? args.bias.data<T>() : nullptr;
#pragma omp parallel for schedule(static) if (plane > kParallelElements)
  for (std::int64_t point = 0; point < size.points; ++point) {
    const T* z = args.z.data<T>() + point * size.channels;
    T* y = args.y.data<T>() + point * size.channels;
#pragma omp simd
    for (std::int64_t c = 0; c < size.channels; ++c) {
      const auto f = Function::at(bias == nullptr ? z[c] : z[c] + bias[c]);
      T squares = 0;
      for (std::int64_t i = 1; i <= size.coordinates; ++i) {
        const T slope = z[i * plane + c];
        y[i * plane + c] = f.first * slope;
        squares += slope * slope;
      }
      const std::int64_t last = (size.coordinates + 1) * plane + c;
      y[c] = f.value;
      y[last] = f.second * squares + f.first * z[last];
    }
  }
}

template <typename Function, typename T>
void backward(const TaylorActivationBackward& args) {
  const Sizes size = sizes_of(args.z);
  const std::int64_t plane = size.plane();
  const T* bias = args.bias.defined() ? args.bias.data<T>() : nullptr;
  const std::int64_t rows = args.dy.dim(0) * size.points;
#pragma omp parallel for schedule(static) if (rows * size.channels > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t offset = row % size.points * size.channels;
    const std::int64_t of_basis = row / size.points * (size.coordinates + 2) * plane;
    const T* z = args.z.data<T>() + offset;
    const T* dy = args.dy.data<T>() + of_basis + offset;
    T* dz = args.dz.data<T>() + of_basis + offset;
#pragma omp simd
    for (std::int64_t c = 0; c < size.channels; ++c) {
      const auto f = Function::at(bias == nullptr ? z[c] : z[c] + bias[c]);
      const std::int64_t last = (size.coordinates + 1) * plane + c;
      const T dy_last = dy[last];
      T squares = 0;
      T slopes = 0;  // sum of dy_i z_i
      for (std::int64_t i = 1; i <= size.coordinates; ++i) {
        const std::int64_t at = i * plane + c;
        squares += z[at] * z[at];
        slopes += dy[at] * z[at];
        dz[at] = dy[at] * f.first + 2 * dy_last * f.second * z[at];
      }
      dz[c] =
          dy[c] * f.first + f.second * slopes + dy_last * (f.third * squares + f.second * z[last]);
      dz[last] = dy_last * f.first;
    }
  }
}

// Calls `visit.operator()<Function, T>()`.
template <typename Visit>
void visit_function(TaylorFunction function, DType dtype, Visit&& visit) {
  visit_real(dtype, [&]<typename T>() {
    switch (function) {
      case TaylorFunction::kTanh:
        return visit.template operator()<Tanh<T>, T>();
      case TaylorFunction::kIdentity:
        return visit.template operator()<Identity<T>, T>();
    }
  });
}

}  // namespace

void taylor_coordinates(const TaylorCoordinates& args) {
  const std::int64_t points = args.points.dim(0);
  const std::int64_t coordinates = args.points.dim(1);
  fill_zero(args.y);
  copy(args.y.slice(0, 1), args.points);
  visit_real(args.y.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < coordinates; ++i) {
      T* slope = args.y.data<T>() + (1 + i) * points * coordinates;
      for (std::int64_t point = 0; point < points; ++point) {
        slope[point * coordinates + i] = 1;
      }
    }
  });
}

void taylor_activation(const TaylorActivationForward& args) {
  visit_function(args.function, args.z.dtype(),
                 [&]<typename Function, typename T>() { forward<Function, T>(args); });
}

void taylor_activation(const TaylorActivationBackward& args) {
  visit_function(args.function, args.z.dtype(),
                 [&]<typename Function, typename T>() { backward<Function, T>(args); });
}

}  // namespace ghost::cpu
