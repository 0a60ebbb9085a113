#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/swiglu_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
void forward(const SwigluForward& args) {
  const std::int64_t hidden = args.y.dim(-1);
  const std::int64_t rows = args.y.numel() / hidden;
#pragma omp parallel for schedule(static) if (args.y.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = args.x.data<T>() + row * 2 * hidden;
    const T* up = gate + hidden;
    T* y = args.y.data<T>() + row * hidden;
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i) {
      put(y[i], vector_silu(widen(gate[i])) * widen(up[i]));
    }
  }
}

// The sigmoid is computed again for each of the P cotangents: it costs less than the traffic.
template <typename T>
void backward(const SwigluBackward& args) {
  const std::int64_t hidden = args.dy.dim(-1);
  const std::int64_t rows = args.x.numel() / (2 * hidden);
  const std::int64_t basis = args.dy.dim(0);
#pragma omp parallel for schedule(static) collapse(2) if (args.dy.numel() > kParallelElements)
  for (std::int64_t p = 0; p < basis; ++p) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* gate = args.x.data<T>() + row * 2 * hidden;
      const T* up = gate + hidden;
      const T* dy = args.dy.data<T>() + (p * rows + row) * hidden;
      T* dgate = args.dx.data<T>() + (p * rows + row) * 2 * hidden;
      T* dup = dgate + hidden;
#pragma omp simd
      for (std::int64_t i = 0; i < hidden; ++i) {
        const RealOf<T> g = widen(gate[i]);
        const RealOf<T> s = vector_sigmoid(g);
        put(dgate[i], widen(dy[i]) * widen(up[i]) * silu_derivative(g, s));
        put(dup[i], widen(dy[i]) * g * s);
      }
    }
  }
}

}  // namespace

void swiglu(const SwigluForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void swiglu(const SwigluBackward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
