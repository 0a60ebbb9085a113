#include <cmath>
#include <omp.h>
#include <vector>

#include "ops/cpu/column_sums.h"
#include "ops/rms_norm_kernels.h"

namespace ghost::cpu {
namespace {

template <typename T>
void normalize_row(const T* x, T rstd, const T* gain, T* y, std::int64_t cols) {
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    y[c] = x[c] * rstd * gain[c];
  }
}

template <typename T>
void forward(const RmsNormForward& args) {
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * cols;
    T sum_sq = 0;
#pragma omp simd reduction(+ : sum_sq)
    for (std::int64_t c = 0; c < cols; ++c) {
      sum_sq += x[c] * x[c];
    }
    const T rstd = 1 / std::sqrt(sum_sq / static_cast<T>(cols) + static_cast<T>(args.eps));
    args.rstd.data<T>()[row] = rstd;
    normalize_row(x, rstd, args.gain.data<T>(), args.y.data<T>() + row * cols, cols);
    if (args.normalized.defined()) {
      T* normalized = args.normalized.data<T>() + row * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) {
        normalized[c] = x[c] * rstd;
      }
    }
  }
}

template <typename T>
void apply(const RmsNormApply& args) {
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T scale = args.is_normalized ? T{1} : args.rstd.data<T>()[row];
    normalize_row(args.x.data<T>() + row * cols, scale, args.gain.data<T>(),
                  args.y.data<T>() + row * cols, cols);
  }
}

// `scale` takes x to its normalised value.
template <typename T>
void dx_row(const T* x, const T* dy, const T* gain, T scale, T rstd, T* dx, std::int64_t cols) {
  T sum_gx = 0;
#pragma omp simd reduction(+ : sum_gx)
  for (std::int64_t c = 0; c < cols; ++c) {
    sum_gx += dy[c] * gain[c] * x[c];
  }
  const T mean_gn = sum_gx * scale / static_cast<T>(cols);
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    dx[c] = rstd * (dy[c] * gain[c] - x[c] * scale * mean_gn);
  }
}

// Threads own contiguous runs of rows and partial sums of their own, added in thread order: the
// result depends on the number of threads only.
template <typename T>
void backward(const RmsNormBackward& args) {
  const std::int64_t cols = args.x.dim(-1);
  const std::int64_t rows = args.x.numel() / cols;
  const std::int64_t basis = args.dy.dim(0);
  const bool has_dgain = args.dgain.defined();
  const int num_threads = omp_get_max_threads();
  std::vector<T> partial(has_dgain ? static_cast<std::size_t>(num_threads * cols) : 0);
#pragma omp parallel num_threads(num_threads)
  {
    T* dgain = has_dgain ? partial.data() + omp_get_thread_num() * cols : nullptr;
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* x = args.x.data<T>() + row * cols;
      const T rstd = args.rstd.data<T>()[row];
      const T scale = args.is_normalized ? T{1} : rstd;
      for (std::int64_t p = 0; p < basis; ++p) {
        const T* dy = args.dy.data<T>() + (p * rows + row) * cols;
        if (has_dgain) {
#pragma omp simd
          for (std::int64_t c = 0; c < cols; ++c) {
            dgain[c] += dy[c] * x[c] * scale;
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
    column_sums(partial.data(), num_threads, cols, args.accumulate_dgain, args.dgain.data<T>());
  }
}

}  // namespace

void rms_norm(const RmsNormForward& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void rms_norm(const RmsNormApply& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { apply<T>(args); });
}

void rms_norm(const RmsNormBackward& args) {
  visit_real(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
