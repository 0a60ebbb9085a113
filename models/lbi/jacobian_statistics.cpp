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

}  // namespace

JacobianStatistics jacobian_statistics(Context& ctx, const Tensor& pullbacks) {
  const MeanNorms local = mean_norms(pullbacks);
  const MeanNorms suffix = mean_norms(suffix_products(ctx, pullbacks, SuffixMethod::kChain));
  return {.local_norm = local.spectral,
          .suffix_norm = suffix.spectral,
          .local_frobenius = local.frobenius,
          .suffix_frobenius = suffix.frobenius};
}

}  // namespace ghost
