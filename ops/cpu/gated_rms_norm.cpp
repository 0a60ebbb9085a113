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
T gate_of(const T* z, std::int64_t c) {
  if constexpr (kIsGated) {
    return vector_silu(z[c]);
  } else {
    return T{1};
  }
}

// Both orders end alike: y = gain * x * silu(z) * rstd.
template <bool kIsGated, typename T>
void apply_group(const T* x, const T* z, const T* gain, T rstd, T* y, std::int64_t size) {
#pragma omp simd
  for (std::int64_t c = 0; c < size; ++c) {
    y[c] = x[c] * gate_of<kIsGated>(z, c) * rstd * gain[c];
  }
}

template <bool kIsGated, typename T>
T sum_of_squares(GateOrder order, const T* x, const T* z, std::int64_t size) {
  T sum = 0;
  if (order == GateOrder::kNormThenGate) {
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < size; ++c) {
      sum += x[c] * x[c];
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < size; ++c) {
    const T u = x[c] * gate_of<kIsGated>(z, c);
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
  const Extents extents(args.x, args.rstd);
  for_each_group(extents, [&](std::int64_t at, std::int64_t column, std::int64_t statistic) {
    const T* x = args.x.data<T>() + at;
    const T* z = place<T>(args.z, at);
    const T mean =
        sum_of_squares<kIsGated>(args.order, x, z, extents.size) / static_cast<T>(extents.size);
    const T rstd = 1 / std::sqrt(mean + static_cast<T>(args.eps));
    args.rstd.data<T>()[statistic] = rstd;
    apply_group<kIsGated>(x, z, args.gain.data<T>() + column, rstd, args.y.data<T>() + at,
                          extents.size);
  });
}

template <bool kIsGated, typename T>
void apply(const GatedRmsNormApply& args) {
  const Extents extents(args.x, args.rstd);
  for_each_group(extents, [&](std::int64_t at, std::int64_t column, std::int64_t statistic) {
    apply_group<kIsGated>(args.x.data<T>() + at, place<T>(args.z, at), args.gain.data<T>() + column,
                          args.rstd.data<T>()[statistic], args.y.data<T>() + at, extents.size);
  });
}

/// One group of one row; dx, dz and dgain may be null, and z where it is not gated.
template <bool kIsGated, typename T>
struct GroupBackward {
  const T* x;
  const T* z;
  const T* gain;
  T rstd;
  const T* dy;
  T* dx;
  T* dz;
  T* dgain;
  std::int64_t size;

  void gate_then_norm() const {
    T sum_qu = 0;
#pragma omp simd reduction(+ : sum_qu)
    for (std::int64_t c = 0; c < size; ++c) {
      sum_qu += dy[c] * gain[c] * x[c] * gate_of<kIsGated>(z, c);
    }
    const T shift = rstd * rstd * sum_qu / static_cast<T>(size);
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      const T f = gate_of<kIsGated>(z, c);
      const T du = rstd * (dy[c] * gain[c] - x[c] * f * shift);
      if (dx != nullptr) {
        dx[c] = du * f;
      }
      if constexpr (kIsGated) {
        if (dz != nullptr) {
          dz[c] = du * x[c] * silu_derivative(z[c], vector_sigmoid(z[c]));
        }
      }
    }
  }

  void norm_then_gate() const {
    T sum_qx = 0;
#pragma omp simd reduction(+ : sum_qx)
    for (std::int64_t c = 0; c < size; ++c) {
      sum_qx += dy[c] * gain[c] * gate_of<kIsGated>(z, c) * x[c];
    }
    const T shift = rstd * rstd * sum_qx / static_cast<T>(size);
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      const T g = dy[c] * gain[c];
      if (dx != nullptr) {
        dx[c] = rstd * (g * gate_of<kIsGated>(z, c) - x[c] * shift);
      }
      if constexpr (kIsGated) {
        if (dz != nullptr) {
          dz[c] = g * x[c] * rstd * silu_derivative(z[c], vector_sigmoid(z[c]));
        }
      }
    }
  }

  void add_dgain() const {
#pragma omp simd
    for (std::int64_t c = 0; c < size; ++c) {
      dgain[c] += dy[c] * x[c] * gate_of<kIsGated>(z, c) * rstd;
    }
  }
};

// Threads own contiguous runs of rows and partial sums of their own, added in thread order: the
// result depends on the number of threads only.
template <bool kIsGated, typename T>
void backward(const GatedRmsNormBackward& args) {
  const Extents extents(args.x, args.rstd);
  const std::int64_t cols = extents.cols();
  const std::int64_t basis = args.dy.dim(0);
  const bool has_dgain = args.dgain.defined();
  const int num_threads = omp_get_max_threads();
  std::vector<T> partial(has_dgain ? static_cast<std::size_t>(num_threads * cols) : 0);
#pragma omp parallel num_threads(num_threads)
  {
    T* dgain = has_dgain ? partial.data() + omp_get_thread_num() * cols : nullptr;
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
              .rstd = args.rstd.data<T>()[row * extents.groups + group],
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
    column_sums(partial.data(), num_threads, cols, args.accumulate_dgain, args.dgain.data<T>());
  }
}

// Calls `visit.operator()<kIsGated, T>()`.
template <typename Args, typename Visit>
void visit_gate(const Args& args, Visit&& visit) {
  visit_real(args.x.dtype(), [&]<typename T>() {
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
