#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/mamba3_gate_kernels.h"

namespace ghost::cpu {
namespace {

struct Size {
  std::int64_t tokens;  // of all batch entries
  std::int64_t ranks;
  std::int64_t heads;
  std::int64_t head_dim;

  explicit Size(const Tensor& o)
      : tokens(o.dim(0) * o.dim(1)), ranks(o.dim(2)), heads(o.dim(3)), head_dim(o.dim(4)) {}

  std::int64_t value(std::int64_t token, std::int64_t head) const {
    return (token * heads + head) * head_dim;
  }
  std::int64_t out(std::int64_t token, std::int64_t rank, std::int64_t head) const {
    return ((token * ranks + rank) * heads + head) * head_dim;
  }
  std::int64_t weight(std::int64_t head, std::int64_t rank) const {
    return (head * ranks + rank) * head_dim;
  }
};

/// A row of weights, all ones where there are none.
template <typename T>
struct Weights {
  const T* data;

  Weights(const Tensor& weight, std::int64_t offset)
      : data(weight.defined() ? weight.data<T>() + offset : nullptr) {}
  T operator[](std::int64_t i) const { return data == nullptr ? T{1} : data[i]; }
};

template <typename T>
void forward(const Mamba3GateForward& args) {
  const Size n(args.o);
#pragma omp parallel for schedule(static) if (args.o.numel() > kParallelElements)
  for (std::int64_t token = 0; token < n.tokens; ++token) {
    for (std::int64_t head = 0; head < n.heads; ++head) {
      const T* z = args.z.data<T>() + n.value(token, head);
      T* y = args.y.data<T>() + n.value(token, head);
      std::fill_n(y, n.head_dim, T{0});
      for (std::int64_t r = 0; r < n.ranks; ++r) {
        const T* o = args.o.data<T>() + n.out(token, r, head);
        const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
        const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
#pragma omp simd
        for (std::int64_t p = 0; p < n.head_dim; ++p) {
          const T u = z[p] * mimo_z[p];
          y[p] += mimo_o[p] * o[p] * vector_silu(u);
        }
      }
    }
  }
}

// `row` counts the tokens of all cotangents.
template <typename T>
void activations_row(const Mamba3GateBackward& args, const Size& n, std::int64_t row) {
  const std::int64_t token = row % n.tokens;
  for (std::int64_t head = 0; head < n.heads; ++head) {
    const T* z = args.z.data<T>() + n.value(token, head);
    const T* dy = args.dy.data<T>() + n.value(row, head);
    T* dz = args.dz.defined() ? args.dz.data<T>() + n.value(row, head) : nullptr;
    if (dz != nullptr) {
      std::fill_n(dz, n.head_dim, T{0});
    }
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const T* o = args.o.data<T>() + n.out(token, r, head);
      T* dout = args.dout.defined() ? args.dout.data<T>() + n.out(row, r, head) : nullptr;
      const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
      const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
#pragma omp simd
      for (std::int64_t p = 0; p < n.head_dim; ++p) {
        const T scale = mimo_z[p];
        const T u = z[p] * scale;
        const T s = vector_sigmoid(u);
        const T g = dy[p] * mimo_o[p];
        if (dout != nullptr) {
          dout[p] = g * u * s;
        }
        if (dz != nullptr) {
          dz[p] += g * o[p] * silu_derivative(u, s) * scale;
        }
      }
    }
  }
}

// Each head by one thread, its tokens in order.
template <typename T>
void weights_of_head(const Mamba3GateBackward& args, const Size& n, std::int64_t head) {
  for (std::int64_t token = 0; token < n.tokens; ++token) {
    const T* z = args.z.data<T>() + n.value(token, head);
    const T* dy = args.dy.data<T>() + n.value(token, head);
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const T* o = args.o.data<T>() + n.out(token, r, head);
      const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
      const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
      T* dmimo_z = args.dmimo_z.defined() ? args.dmimo_z.data<T>() + n.weight(head, r) : nullptr;
      T* dmimo_o = args.dmimo_o.defined() ? args.dmimo_o.data<T>() + n.weight(head, r) : nullptr;
      for (std::int64_t p = 0; p < n.head_dim; ++p) {
        const T u = z[p] * mimo_z[p];
        const T s = vector_sigmoid(u);
        if (dmimo_o != nullptr) {
          dmimo_o[p] += dy[p] * o[p] * u * s;
        }
        if (dmimo_z != nullptr) {
          dmimo_z[p] += dy[p] * mimo_o[p] * o[p] * silu_derivative(u, s) * z[p];
        }
      }
    }
  }
}

template <typename T>
void backward(const Mamba3GateBackward& args) {
  const Size n(args.o);
  const std::int64_t rows = args.dy.dim(0) * n.tokens;
#pragma omp parallel for schedule(static) if (args.o.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    activations_row<T>(args, n, row);
  }
  if (args.dmimo_z.defined() || args.dmimo_o.defined()) {
#pragma omp parallel for schedule(static) if (args.o.numel() > kParallelElements)
    for (std::int64_t head = 0; head < n.heads; ++head) {
      weights_of_head<T>(args, n, head);
    }
  }
}

}  // namespace

void mamba3_gate(const Mamba3GateForward& args) {
  visit_real(args.o.dtype(), [&]<typename T>() { forward<T>(args); });
}

void mamba3_gate(const Mamba3GateBackward& args) {
  visit_real(args.o.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
