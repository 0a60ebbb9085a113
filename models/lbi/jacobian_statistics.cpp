#include "models/lbi/jacobian_statistics.h"

#include <cmath>
#include <functional>
#include <numeric>

#include "engine/tensor/host.h"
#include "ops/dense_matrix.h"
#include "ops/suffix_products.h"

namespace ghost {
namespace {

/// `norm` of each of the matrices [n, B, r, r], means over the batch.
std::vector<double> mean_norms(const Tensor& matrices,
                               const std::function<double(const DenseMatrix&)>& norm) {
  const Tensor x = on_host(matrices);
  const std::int64_t batch = x.dim(1);
  const std::int64_t rank = x.dim(-1);
  std::vector<double> norms(static_cast<std::size_t>(x.dim(0)));
  visit_floating(x.dtype(), [&]<typename T>() {
    const T* at = x.data<T>();
    for (double& mean : norms) {
      for (std::int64_t sample = 0; sample < batch; ++sample) {
        DenseMatrix matrix(rank, rank);
        for (std::int64_t i = 0; i < rank * rank; ++i) {
          matrix(i / rank, i % rank) = to_double(*at++);
        }
        mean += norm(matrix) / static_cast<double>(batch);
      }
    }
  });
  return norms;
}

double largest_singular_value(const DenseMatrix& matrix) { return singular_values(matrix).front(); }

double frobenius_per_row(const DenseMatrix& matrix) {
  return matrix.frobenius_norm() / std::sqrt(static_cast<double>(matrix.rows()));
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

JacobianNorms jacobian_norms(Context& ctx, const Tensor& pullbacks) {
  const Tensor suffix = suffix_products(ctx, pullbacks, SuffixMethod::kChain);
  return {.local = mean_norms(pullbacks, largest_singular_value),
          .suffix = mean_norms(suffix.slice(0, pullbacks.dim(0)), largest_singular_value)};
}

JacobianStatistics jacobian_statistics(Context& ctx, const Tensor& pullbacks) {
  const Tensor suffix = suffix_products(ctx, pullbacks, SuffixMethod::kChain);
  return {.local_norm = mean(mean_norms(pullbacks, largest_singular_value)),
          .suffix_norm = mean(mean_norms(suffix, largest_singular_value)),
          .local_frobenius = mean(mean_norms(pullbacks, frobenius_per_row)),
          .suffix_frobenius = mean(mean_norms(suffix, frobenius_per_row))};
}

}  // namespace ghost
