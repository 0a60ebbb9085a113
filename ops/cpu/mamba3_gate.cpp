#include <algorithm>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"
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
  RealOf<T> operator[](std::int64_t i) const { return data == nullptr ? 1 : widen(data[i]); }
};

// `sums` [P] is scratch.
template <typename T>
void forward_token(const Mamba3GateForward& args, const Size& n, std::int64_t token,
                   RealOf<T>* sums) {
  for (std::int64_t head = 0; head < n.heads; ++head) {
    const T* z = args.z.data<T>() + n.value(token, head);
    std::fill_n(sums, n.head_dim, RealOf<T>{0});
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const T* o = args.o.data<T>() + n.out(token, r, head);
      const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
      const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
#pragma omp simd
      for (std::int64_t p = 0; p < n.head_dim; ++p) {
        const RealOf<T> u = widen(z[p]) * mimo_z[p];
        sums[p] += mimo_o[p] * widen(o[p]) * vector_silu(u);
      }
    }
    put_row(sums, args.y.data<T>() + n.value(token, head), n.head_dim);
  }
}

template <typename T>
void forward(const Mamba3GateForward& args) {
  const Size n(args.o);
#pragma omp parallel if (args.o.numel() > kParallelElements)
  {
    std::vector<RealOf<T>> sums(static_cast<std::size_t>(n.head_dim));
#pragma omp for schedule(static)
    for (std::int64_t token = 0; token < n.tokens; ++token) {
      forward_token<T>(args, n, token, sums.data());
    }
  }
}

// `row` counts the tokens of all cotangents; `dz_sums` [P] is scratch.
template <typename T>
void activations_row(const Mamba3GateBackward& args, const Size& n, std::int64_t row,
                     RealOf<T>* dz_sums) {
  using Real = RealOf<T>;
  const std::int64_t token = row % n.tokens;
  for (std::int64_t head = 0; head < n.heads; ++head) {
    const T* z = args.z.data<T>() + n.value(token, head);
    const T* dy = args.dy.data<T>() + n.value(row, head);
    std::fill_n(dz_sums, n.head_dim, Real{0});
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const T* o = args.o.data<T>() + n.out(token, r, head);
      T* dout = args.dout.defined() ? args.dout.data<T>() + n.out(row, r, head) : nullptr;
      const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
      const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
#pragma omp simd
      for (std::int64_t p = 0; p < n.head_dim; ++p) {
        const Real scale = mimo_z[p];
        const Real u = widen(z[p]) * scale;
        const Real s = vector_sigmoid(u);
        const Real g = widen(dy[p]) * mimo_o[p];
        if (dout != nullptr) {
          put(dout[p], g * u * s);
        }
        dz_sums[p] += g * widen(o[p]) * silu_derivative(u, s) * scale;
      }
    }
    if (args.dz.defined()) {
      put_row(dz_sums, args.dz.data<T>() + n.value(row, head), n.head_dim);
    }
  }
}

// Each head by one thread, its tokens in order.
template <typename T>
void weights_of_head(const Mamba3GateBackward& args, const Size& n, std::int64_t head) {
  using Real = RealOf<T>;
  for (std::int64_t token = 0; token < n.tokens; ++token) {
    const T* z = args.z.data<T>() + n.value(token, head);
    const T* dy = args.dy.data<T>() + n.value(token, head);
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const T* o = args.o.data<T>() + n.out(token, r, head);
      const Weights<T> mimo_z(args.mimo_z, n.weight(head, r));
      const Weights<T> mimo_o(args.mimo_o, n.weight(head, r));
      Real* dmimo_z =
          args.dmimo_z.defined() ? args.dmimo_z.data<Real>() + n.weight(head, r) : nullptr;
      Real* dmimo_o =
          args.dmimo_o.defined() ? args.dmimo_o.data<Real>() + n.weight(head, r) : nullptr;
      for (std::int64_t p = 0; p < n.head_dim; ++p) {
        const Real gate = widen(z[p]);
        const Real u = gate * mimo_z[p];
        const Real s = vector_sigmoid(u);
        const Real g = widen(dy[p]) * widen(o[p]);
        if (dmimo_o != nullptr) {
          dmimo_o[p] += g * u * s;
        }
        if (dmimo_z != nullptr) {
          dmimo_z[p] += g * mimo_o[p] * silu_derivative(u, s) * gate;
        }
      }
    }
  }
}

template <typename T>
void backward(const Mamba3GateBackward& args) {
  const Size n(args.o);
  const std::int64_t rows = args.dy.dim(0) * n.tokens;
#pragma omp parallel if (args.o.numel() > kParallelElements)
  {
    std::vector<RealOf<T>> dz_sums(static_cast<std::size_t>(n.head_dim));
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
      activations_row<T>(args, n, row, dz_sums.data());
    }
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
  visit_floating(args.o.dtype(), [&]<typename T>() { forward<T>(args); });
}

void mamba3_gate(const Mamba3GateBackward& args) {
  visit_floating(args.o.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
