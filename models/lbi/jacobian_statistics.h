#pragma once

#include <vector>

#include "engine/autograd/context.h"

namespace ghost {

/// How far cotangents of states grow or shrink on their way, means over the batch. Norms of a
/// matrix and of its transpose are the same, so pullbacks serve as Jacobians.
struct JacobianStatistics {
  double local_norm = 0;        // largest singular value of P_k, mean over k
  double suffix_norm = 0;       // of P_k ... P_(n-1), mean over k = 0..n, the identity included
  double local_frobenius = 0;   // Frobenius norm / sqrt(r), mean over k
  double suffix_frobenius = 0;  // likewise
};

/// Largest singular values, means over the batch.
struct JacobianNorms {
  std::vector<double> local;   // of P_k, k = 0..n-1
  std::vector<double> suffix;  // of P_k ... P_(n-1), k = 0..n-1
};

/// Of pullbacks [n, B, r, r].
JacobianNorms jacobian_norms(Context& ctx, const Tensor& pullbacks);

/// Of pullbacks [n, B, r, r]; `n` is K where the last region's is among them.
JacobianStatistics jacobian_statistics(Context& ctx, const Tensor& pullbacks);

}  // namespace ghost
