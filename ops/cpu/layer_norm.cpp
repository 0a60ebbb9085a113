#include <cmath>
#include <omp.h>
#include <vector>

#include "ops/cpu/column_sums.h"
#include "ops/layer_norm_kernels.h"

namespace ghost::cpu {
namespace {

/// Takes an element of x to its normalised value: (x - mean) * scale.
template <typename T>
struct Standard {
  RealOf<T> mean = 0;
  RealOf<T> scale = 1;

  RealOf<T> operator()(T x) const { return (widen(x) - mean) * scale; }
};

// Of a row of x that is kept as it was, or normalised already.
template <typename T, typename Args>
Standard<T> standard_of(const Args& args, std::int64_t row) {
  using Real = RealOf<T>;
  return args.mean.defined() ? Standard<T>{args.mean.template data<Real>()[row],
                                           args.rstd.template data<Real>()[row]}
                             : Standard<T>{};
}

// One row: two passes over x for the statistics (the second mostly from cache), one for y.
template <typename T>
void normalize_row(const T* x, const Standard<T>& standard, const T* gain, const T* bias, T* y,
                   std::int64_t cols) {
  if (bias != nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      put(y[c], standard(x[c]) * widen(gain[c]) + widen(bias[c]));
    }
  } else {
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      put(y[c], standard(x[c]) * widen(gain[c]));
    }
  }
}

template <typename T>
void forward(const LayerNormForward& args) {
  using Real = RealOf<T>;
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
  const T* gain = args.gain.data<T>();
  const T* bias = args.bias.defined() ? args.bias.data<T>() : nullptr;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * cols;
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < cols; ++c) {
      sum += widen(x[c]);
    }
    const Real mean = sum / static_cast<Real>(cols);
    Real sum_sq = 0;
#pragma omp simd reduction(+ : sum_sq)
    for (std::int64_t c = 0; c < cols; ++c) {
      sum_sq += (widen(x[c]) - mean) * (widen(x[c]) - mean);
    }
    const Real rstd = 1 / std::sqrt(sum_sq / static_cast<Real>(cols) + static_cast<Real>(args.eps));
    args.mean.data<Real>()[row] = mean;
    args.rstd.data<Real>()[row] = rstd;
    const Standard<T> standard{mean, rstd};
    normalize_row(x, standard, gain, bias, args.y.data<T>() + row * cols, cols);
    if (args.normalized.defined()) {
      T* normalized = args.normalized.data<T>() + row * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) {
        put(normalized[c], standard(x[c]));
      }
    }
  }
}

template <typename T>
void apply(const LayerNormApply& args) {
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
  const T* bias = args.bias.defined() ? args.bias.data<T>() : nullptr;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    normalize_row(args.x.data<T>() + row * cols, standard_of<T>(args, row), args.gain.data<T>(),
                  bias, args.y.data<T>() + row * cols, cols);
  }
}

template <typename T>
void dx_row(const T* x, const T* dy, const T* gain, const Standard<T>& standard, RealOf<T> rstd,
            T* dx, std::int64_t cols) {
  using Real = RealOf<T>;
  Real sum_g = 0;
  Real sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
  for (std::int64_t c = 0; c < cols; ++c) {
    const Real g = widen(dy[c]) * widen(gain[c]);
    sum_g += g;
    sum_gn += g * (widen(x[c]) - standard.mean);
  }
  const Real mean_g = sum_g / static_cast<Real>(cols);
  const Real mean_gn = sum_gn * standard.scale / static_cast<Real>(cols);
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    put(dx[c], rstd * (widen(dy[c]) * widen(gain[c]) - mean_g - standard(x[c]) * mean_gn));
  }
}

// Threads own contiguous runs of rows and partial sums of their own, added in thread order: the
// result depends on the number of threads only.
template <typename T>
void backward(const LayerNormBackward& args) {
  using Real = RealOf<T>;
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
  const std::int64_t basis = args.dy.dim(0);
  const bool has_weights = args.dgain.defined() || args.dbias.defined();
  const int num_threads = omp_get_max_threads();
  std::vector<Real> partial(has_weights ? static_cast<std::size_t>(num_threads * 2 * cols) : 0);
#pragma omp parallel num_threads(num_threads)
  {
    Real* dgain = has_weights ? partial.data() + omp_get_thread_num() * cols : nullptr;
    Real* dbias = has_weights ? dgain + num_threads * cols : nullptr;
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* x = args.x.data<T>() + row * cols;
      const Standard<T> standard = standard_of<T>(args, row);
      const Real rstd = args.rstd.data<Real>()[row];
      for (std::int64_t p = 0; p < basis; ++p) {
        const T* dy = args.dy.data<T>() + (p * rows + row) * cols;
        if (has_weights) {
#pragma omp simd
          for (std::int64_t c = 0; c < cols; ++c) {
            dgain[c] += widen(dy[c]) * standard(x[c]);
            dbias[c] += widen(dy[c]);
          }
        }
        if (args.dx.defined()) {
          dx_row(x, dy, args.gain.data<T>(), standard, rstd,
                 args.dx.data<T>() + (p * rows + row) * cols, cols);
        }
      }
    }
  }
  if (args.dgain.defined()) {
    column_sums(partial.data(), num_threads, cols, args.accumulate_dgain, args.dgain.data<Real>());
  }
  if (args.dbias.defined()) {
    column_sums(partial.data() + num_threads * cols, num_threads, cols, args.accumulate_dbias,
                args.dbias.data<Real>());
  }
}

}  // namespace

void layer_norm(const LayerNormForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void layer_norm(const LayerNormApply& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { apply<T>(args); });
}

void layer_norm(const LayerNormBackward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
