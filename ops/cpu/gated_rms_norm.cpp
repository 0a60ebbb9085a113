#include <cmath>
#include <omp.h>
#include <vector>

#include "ops/cpu/column_sums.h"
#include "ops/cpu/vector_math.h"
#include "ops/gated_rms_norm_kernels.h"

namespace ghost::cpu {
namespace {

struct Extents {
  std::int64_t rows;
  std::int64_t groups;
  std::int64_t size;  // channels of a group

  Extents(const Tensor& x, const Tensor& rstd)
      : rows(x.numel() / x.dim(-1)), groups(rstd.dim(-1)), size(x.dim(-1) / groups) {}
  std::int64_t cols() const { return groups * size; }
};

/// silu(z), or 1 where nothing gates.
template <bool kIsGated, typename T>
RealOf<T> gate_of(const T* z, std::int64_t c) {
  if constexpr (kIsGated) {
    return vector_silu(widen(z[c]));
  } else {
    return 1;
  }
}

// Both orders end alike: y = gain * x * silu(z) * rstd.
template <bool kIsGated, typename T>
void apply_group(const T* x, const T* z, const T* gain, RealOf<T> rstd, T* y, std::int64_t size) {
#pragma omp simd
  for (std::int64_t c = 0; c < size; ++c) {
    put(y[c], widen(x[c]) * gate_of<kIsGated>(z, c) * rstd * widen(gain[c]));
  }
}

template <bool kIsGated, typename T>
RealOf<T> sum_of_squares(GateOrder order, const T* x, const T* z, std::int64_t size) {
  RealOf<T> sum = 0;
  if (order == GateOrder::kNormThenGate) {
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < size; ++c) {
      sum += widen(x[c]) * widen(x[c]);
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < size; ++c) {
    const RealOf<T> u = widen(x[c]) * gate_of<kIsGated>(z, c);
    sum += u * u;
  }
  return sum;
}

/// Where an array that may be absent goes on.
template <typename T>
T* place(const Tensor& tensor, std::int64_t at) {
  return tensor.defined() ? tensor.data<T>() + at : nullptr;
}

/// Calls work(element, column, statistic) with where each group of each row begins in the matrices,
/// in a row, and among the groups.
template <typename Work>
void for_each_group(const Extents& extents, const Work& work) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < extents.rows; ++row) {
    for (std::int64_t group = 0; group < extents.groups; ++group) {
      const std::int64_t column = group * extents.size;
      work(row * extents.cols() + column, column, row * extents.groups + group);
    }
  }
}

template <bool kIsGated, typename T>
void forward(const GatedRmsNormForward& args) {
  using Real = RealOf<T>;
  const Extents extents(args.x, args.rstd);
  for_each_group(extents, [&](std::int64_t at, std::int64_t column, std::int64_t statistic) {
    const T* x = args.x.data<T>() + at;
    const T* z = place<T>(args.z, at);
    const Real mean =
        sum_of_squares<kIsGated>(args.order, x, z, extents.size) / static_cast<Real>(extents.size);
    const Real rstd = 1 / std::sqrt(mean + static_cast<Real>(args.eps));
    args.rstd.data<Real>()[statistic] = rstd;
    apply_group<kIsGated>(x, z, args.gain.data<T>() + column, rstd, args.y.data<T>() + at,
                          extents.size);
  });
}

template <bool kIsGated, typename T>
void apply(const GatedRmsNormApply& args) {
  const Extents extents(args.x, args.rstd);
  for_each_group(extents, [&](std::int64_t at, std::int64_t column, std::int64_t statistic) {
    apply_group<kIsGated>(args.x.data<T>() + at, place<T>(args.z, at), args.gain.data<T>() + column,
                          args.rstd.data<RealOf<T>>()[statistic], args.y.data<T>() + at,
                          extents.size);
  });
}

/// One group of one row; dx, dz and dgain may be null, and z where it is not gated.
template <bool kIsGated, typename T>
struct GroupBackward {
  using Real = RealOf<T>;

  const T* x;
  const T* z;
  const T* gain;
  Real rstd;
  const T* dy;
  T* dx;
  T* dz;
  Real* dgain;
  std::int64_t size;

  void gate_then_norm() const {
    Real sum_qu = 0;
#pragma omp simd reduction(+ : sum_qu)
    for (std::int64_t c = 0; c < size; ++c) {
      sum_qu += widen(dy[c]) * widen(gain[c]) * widen(x[c]) * gate_of<kIsGated>(z, c);
    }
    const Real shift = rstd * rstd * sum_qu / static_cast<Real>(size);
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      const Real f = gate_of<kIsGated>(z, c);
      const Real du = rstd * (widen(dy[c]) * widen(gain[c]) - widen(x[c]) * f * shift);
      if (dx != nullptr) {
        put(dx[c], du * f);
      }
      if constexpr (kIsGated) {
        if (dz != nullptr) {
          const Real gate = widen(z[c]);
          put(dz[c], du * widen(x[c]) * silu_derivative(gate, vector_sigmoid(gate)));
        }
      }
    }
  }

  void norm_then_gate() const {
    Real sum_qx = 0;
#pragma omp simd reduction(+ : sum_qx)
    for (std::int64_t c = 0; c < size; ++c) {
      sum_qx += widen(dy[c]) * widen(gain[c]) * gate_of<kIsGated>(z, c) * widen(x[c]);
    }
    const Real shift = rstd * rstd * sum_qx / static_cast<Real>(size);
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      const Real g = widen(dy[c]) * widen(gain[c]);
      if (dx != nullptr) {
        put(dx[c], rstd * (g * gate_of<kIsGated>(z, c) - widen(x[c]) * shift));
      }
      if constexpr (kIsGated) {
        if (dz != nullptr) {
          const Real gate = widen(z[c]);
          put(dz[c], g * widen(x[c]) * rstd * silu_derivative(gate, vector_sigmoid(gate)));
        }
      }
    }
  }

  void add_dgain() const {
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      dgain[c] += widen(dy[c]) * widen(x[c]) * gate_of<kIsGated>(z, c) * rstd;
    }
  }
};

// Threads own contiguous runs of rows and partial sums of their own, added in thread order: the
// result depends on the number of threads only.
template <bool kIsGated, typename T>
void backward(const GatedRmsNormBackward& args) {
  using Real = RealOf<T>;
  const Extents extents(args.x, args.rstd);
  const std::int64_t cols = extents.cols();
  const std::int64_t basis = args.dy.dim(0);
  const bool has_dgain = args.dgain.defined();
  const int num_threads = omp_get_max_threads();
  std::vector<Real> partial(has_dgain ? static_cast<std::size_t>(num_threads * cols) : 0);
#pragma omp parallel num_threads(num_threads)
  {
    Real* dgain = has_dgain ? partial.data() + omp_get_thread_num() * cols : nullptr;
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < extents.rows; ++row) {
      for (std::int64_t group = 0; group < extents.groups; ++group) {
        const std::int64_t column = group * extents.size;
        for (std::int64_t p = 0; p < basis; ++p) {
          const std::int64_t at = (p * extents.rows + row) * cols + column;
          const GroupBackward<kIsGated, T> one{
              .x = args.x.data<T>() + row * cols + column,
              .z = place<T>(args.z, row * cols + column),
              .gain = args.gain.data<T>() + column,
              .rstd = args.rstd.data<Real>()[row * extents.groups + group],
              .dy = args.dy.data<T>() + at,
              .dx = place<T>(args.dx, at),
              .dz = place<T>(args.dz, at),
              .dgain = has_dgain ? dgain + column : nullptr,
              .size = extents.size};
          if (has_dgain) {
            one.add_dgain();
          }
          if (args.order == GateOrder::kGateThenNorm) {
            one.gate_then_norm();
          } else {
            one.norm_then_gate();
          }
        }
      }
    }
  }
  if (has_dgain) {
    column_sums(partial.data(), num_threads, cols, args.accumulate_dgain, args.dgain.data<Real>());
  }
}

// Calls `visit.operator()<kIsGated, T>()`.
template <typename Args, typename Visit>
void visit_gate(const Args& args, Visit&& visit) {
  visit_floating(args.x.dtype(), [&]<typename T>() {
    if (args.z.defined()) {
      visit.template operator()<true, T>();
    } else {
      visit.template operator()<false, T>();
    }
  });
}

}  // namespace

void gated_rms_norm(const GatedRmsNormForward& args) {
  visit_gate(args, [&]<bool kIsGated, typename T>() { forward<kIsGated, T>(args); });
}

void gated_rms_norm(const GatedRmsNormApply& args) {
  visit_gate(args, [&]<bool kIsGated, typename T>() { apply<kIsGated, T>(args); });
}

void gated_rms_norm(const GatedRmsNormBackward& args) {
  visit_gate(args, [&]<bool kIsGated, typename T>() { backward<kIsGated, T>(args); });
}

}  // namespace ghost::cpu
