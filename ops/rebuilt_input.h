#pragma once

#include <cstdint>

#include "ops/dense_matrix.h"

namespace ghost {

/// What an activation A [n, d] is rebuilt as, in factors: Ahat = u v. Its product with a gradient,
/// delta^T Ahat = (u^T delta)^T v, never forms it.
struct RebuiltInput {
  DenseMatrix u;  // [n, R]
  DenseMatrix v;  // [R, d]
};

/// The matrix of least length whose sketches A^T probes are `values`: with probes = Q R,
///
///   u = Q,  v = R^-T values^T
///
/// and, where there are more probes than rows, the one that comes closest: then A itself, if
/// `values` are its sketches.
/// probes  [n, R], Gaussian
/// values  [d, R]
RebuiltInput lift(const DenseMatrix& probes, const DenseMatrix& values);

/// The operator between the sketches of a layer's input and those of its output,
///
///   Ghat = q_y core q_x^T,   core = q_y^T (Z / Psi) R_X^+,   Y = q_y R_Y,   X = q_x R_X
///
/// [d_out, d_in]: Ghat X = q_y q_y^T Z / Psi, the output's probes as far as Y sees them. Singular
/// values of R_X below 1e-8 of its largest count as zero. Signs of the factors do not matter.
struct LayerOperator {
  DenseMatrix q_x;   // [d_in, k]
  DenseMatrix core;  // [k, k]
  DenseMatrix q_y;   // [d_out, k]
};
LayerOperator layer_operator(const DenseMatrix& x, const DenseMatrix& y,
                             const DenseMatrix& z_over_psi);

/// Operators one after the other on a batch A_0: Ahat = (A_0 left) right.
struct OperatorChain {
  DenseMatrix left;   // [d_0, k]
  DenseMatrix right;  // [k, d]
};
OperatorChain first_link(const LayerOperator& op);
OperatorChain next_link(const OperatorChain& before, const LayerOperator& op);

}  // namespace ghost
