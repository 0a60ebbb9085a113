#include "models/lbi/jacobian_statistics.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "engine/tensor/host.h"
#include "ops/suffix_products.h"

namespace ghost {
namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

/// Largest singular value of a matrix [r, r] by one-sided Jacobi rotations: pairs of rows are
/// turned until all are orthogonal; their lengths are the singular values then.
double spectral_norm(std::vector<double> matrix, std::size_t rank) {
  constexpr int kMaxSweeps = 30;
  constexpr double kOrthogonal = 1e-12;
  const auto row = [&](std::size_t i) { return std::span(matrix).subspan(i * rank, rank); };
  bool is_orthogonal = false;
  for (int sweep = 0; sweep < kMaxSweeps && !is_orthogonal; ++sweep) {
    is_orthogonal = true;
    for (std::size_t i = 0; i < rank; ++i) {
      for (std::size_t j = i + 1; j < rank; ++j) {
        const double aa = dot(row(i), row(i));
        const double bb = dot(row(j), row(j));
        const double ab = dot(row(i), row(j));
        if (std::abs(ab) <= kOrthogonal * std::sqrt(aa * bb)) {
          continue;
        }
        is_orthogonal = false;
        const double zeta = (bb - aa) / (2 * ab);
        const double tangent = std::copysign(1 / (std::abs(zeta) + std::hypot(1, zeta)), zeta);
        const double cosine = 1 / std::hypot(1, tangent);
        const double sine = cosine * tangent;
        for (std::size_t c = 0; c < rank; ++c) {
          const double a = row(i)[c];
          const double b = row(j)[c];
          row(i)[c] = cosine * a - sine * b;
          row(j)[c] = sine * a + cosine * b;
        }
      }
    }
  }
  double largest = 0;
  for (std::size_t i = 0; i < rank; ++i) {
    largest = std::max(largest, dot(row(i), row(i)));
  }
  return std::sqrt(largest);
}

struct MeanNorms {
  double spectral = 0;
  double frobenius = 0;
};

MeanNorms mean_norms(const Tensor& matrices) {
  const Tensor x = on_host(matrices);
  const auto rank = static_cast<std::size_t>(x.dim(-1));
  const std::size_t count = static_cast<std::size_t>(x.numel()) / (rank * rank);
  MeanNorms sum;
  visit_floating(x.dtype(), [&]<typename T>() {
    const T* at = x.data<T>();
    for (std::size_t i = 0; i < count; ++i, at += rank * rank) {
      std::vector<double> matrix(rank * rank);
      std::transform(at, at + rank * rank, matrix.begin(),
                     [](T value) { return to_double(value); });
      sum.frobenius += std::sqrt(dot(matrix, matrix) / static_cast<double>(rank));
      sum.spectral += spectral_norm(std::move(matrix), rank);
    }
  });
  return {sum.spectral / static_cast<double>(count), sum.frobenius / static_cast<double>(count)};
}

/// A lower bound of the largest singular value, near it: by power iterations from a fixed start.
/// Other than rotations it costs r^2, so it can be asked for during training.
double power_norm(std::span<const double> matrix, std::size_t rank) {
  constexpr int kIterations = 30;
  std::vector<double> x(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    x[i] = 1 + 0.1 * std::sin(static_cast<double>(i));  // no special direction
  }
  std::vector<double> y(rank);
  double norm = 0;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const double length = std::sqrt(dot(x, x));
    if (!(length > 0)) {
      return length;  // zero, or not a number
    }
    for (std::size_t i = 0; i < rank; ++i) {
      y[i] = dot(matrix.subspan(i * rank, rank), x) / length;
    }
    norm = std::sqrt(dot(y, y));
    std::fill(x.begin(), x.end(), 0);
    for (std::size_t i = 0; i < rank; ++i) {
      for (std::size_t j = 0; j < rank; ++j) {
        x[j] += matrix[i * rank + j] * y[i];
      }
    }
  }
  return norm;
}

/// Of the first `count` of matrices [n, B, r, r], means over the batch.
std::vector<double> spectral_norms(const Tensor& matrices, std::int64_t count) {
  const Tensor x = on_host(matrices);
  const std::int64_t batch = x.dim(1);
  const auto rank = static_cast<std::size_t>(x.dim(-1));
  std::vector<double> norms(static_cast<std::size_t>(count));
  visit_floating(x.dtype(), [&]<typename T>() {
    const T* at = x.data<T>();
    std::vector<double> matrix(rank * rank);
    for (double& norm : norms) {
      for (std::int64_t sample = 0; sample < batch; ++sample, at += rank * rank) {
        std::transform(at, at + rank * rank, matrix.begin(),
                       [](T value) { return to_double(value); });
        norm += power_norm(matrix, rank) / static_cast<double>(batch);
      }
    }
  });
  return norms;
}

}  // namespace

JacobianNorms jacobian_norms(Context& ctx, const Tensor& pullbacks) {
  const std::int64_t count = pullbacks.dim(0);
  return {.local = spectral_norms(pullbacks, count),
          .suffix = spectral_norms(suffix_products(ctx, pullbacks, SuffixMethod::kChain), count)};
}

JacobianStatistics jacobian_statistics(Context& ctx, const Tensor& pullbacks) {
  const MeanNorms local = mean_norms(pullbacks);
  const MeanNorms suffix = mean_norms(suffix_products(ctx, pullbacks, SuffixMethod::kChain));
  return {.local_norm = local.spectral,
          .suffix_norm = suffix.spectral,
          .local_frobenius = local.frobenius,
          .suffix_frobenius = suffix.frobenius};
}

}  // namespace ghost
