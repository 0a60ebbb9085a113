#include <cmath>
#include <omp.h>
#include <vector>

#include "ops/cpu/column_sums.h"
#include "ops/rms_norm_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
void normalize_row(const T* x, RealOf<T> rstd, const T* gain, T* y, std::int64_t cols) {
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    put(y[c], widen(x[c]) * rstd * widen(gain[c]));
  }
}

template <typename T>
void forward(const RmsNormForward& args) {
  using Real = RealOf<T>;
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * cols;
    Real sum_sq = 0;
#pragma omp simd reduction(+ : sum_sq)
    for (std::int64_t c = 0; c < cols; ++c) {
      sum_sq += widen(x[c]) * widen(x[c]);
    }
    const Real rstd = 1 / std::sqrt(sum_sq / static_cast<Real>(cols) + static_cast<Real>(args.eps));
    args.rstd.data<Real>()[row] = rstd;
    normalize_row(x, rstd, args.gain.data<T>(), args.y.data<T>() + row * cols, cols);
    if (args.normalized.defined()) {
      T* normalized = args.normalized.data<T>() + row * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) {
        put(normalized[c], widen(x[c]) * rstd);
      }
    }
  }
}

template <typename T>
void apply(const RmsNormApply& args) {
  using Real = RealOf<T>;
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const Real scale = args.is_normalized ? Real{1} : args.rstd.data<Real>()[row];
    normalize_row(args.x.data<T>() + row * cols, scale, args.gain.data<T>(),
                  args.y.data<T>() + row * cols, cols);
  }
}

// `scale` takes x to its normalised value.
template <typename T>
void dx_row(const T* x, const T* dy, const T* gain, RealOf<T> scale, RealOf<T> rstd, T* dx,
            std::int64_t cols) {
  RealOf<T> sum_gx = 0;
#pragma omp simd reduction(+ : sum_gx)
  for (std::int64_t c = 0; c < cols; ++c) {
    sum_gx += widen(dy[c]) * widen(gain[c]) * widen(x[c]);
  }
  const RealOf<T> mean_gn = sum_gx * scale / static_cast<RealOf<T>>(cols);
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    put(dx[c], rstd * (widen(dy[c]) * widen(gain[c]) - widen(x[c]) * scale * mean_gn));
  }
}

// Threads own contiguous runs of rows and partial sums of their own, added in thread order: the
// result depends on the number of threads only.
template <typename T>
void backward(const RmsNormBackward& args) {
  using Real = RealOf<T>;
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
  const std::int64_t basis = args.dy.dim(0);
  const bool has_dgain = args.dgain.defined();
  const int num_threads = omp_get_max_threads();
  std::vector<Real> partial(has_dgain ? static_cast<std::size_t>(num_threads * cols) : 0);
#pragma omp parallel num_threads(num_threads)
  {
    Real* dgain = has_dgain ? partial.data() + omp_get_thread_num() * cols : nullptr;
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* x = args.x.data<T>() + row * cols;
      const Real rstd = args.rstd.data<Real>()[row];
      const Real scale = args.is_normalized ? Real{1} : rstd;
      for (std::int64_t p = 0; p < basis; ++p) {
        const T* dy = args.dy.data<T>() + (p * rows + row) * cols;
        if (has_dgain) {
#pragma omp simd
          for (std::int64_t c = 0; c < cols; ++c) {
            dgain[c] += widen(dy[c]) * widen(x[c]) * scale;
          }
        }
        if (args.dx.defined()) {
          dx_row(x, dy, args.gain.data<T>(), scale, rstd,
                 args.dx.data<T>() + (p * rows + row) * cols, cols);
        }
      }
    }
  }
  if (has_dgain) {
    column_sums(partial.data(), num_threads, cols, args.accumulate_dgain, args.dgain.data<Real>());
  }
}

}  // namespace

void rms_norm(const RmsNormForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void rms_norm(const RmsNormApply& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { apply<T>(args); });
}

void rms_norm(const RmsNormBackward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
