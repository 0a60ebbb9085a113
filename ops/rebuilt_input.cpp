#include "ops/rebuilt_input.h"

namespace ghost {
namespace {

constexpr double kCutoff = 1e-8;  // of singular values of R_X

DenseMatrix identity(std::int64_t n) {
  DenseMatrix out(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    out(i, i) = 1;
  }
  return out;
}

}  // namespace

RebuiltInput lift(const DenseMatrix& probes, const DenseMatrix& values) {
  if (probes.rows() >= probes.columns()) {
    ThinQr qr = thin_qr(probes);
    return {.u = std::move(qr.q), .v = solve_upper_transposed(qr.r, values.transposed())};
  }
  // probes^T A = values^T has more equations than unknowns: probes^T = Q R, A = R^-1 Q^T values^T.
  const ThinQr qr = thin_qr(probes.transposed());
  return {.u = identity(probes.rows()),
          .v = solve_upper(qr.r, transposed_product(qr.q, values.transposed()))};
}

LayerOperator layer_operator(const DenseMatrix& x, const DenseMatrix& y,
                             const DenseMatrix& z_over_psi) {
  ThinQr of_x = thin_qr(x);
  ThinQr of_y = thin_qr(y);
  DenseMatrix core =
      product(transposed_product(of_y.q, z_over_psi), pseudo_inverse(of_x.r, kCutoff));
  return {.q_x = std::move(of_x.q), .core = std::move(core), .q_y = std::move(of_y.q)};
}

OperatorChain first_link(const LayerOperator& op) {
  return {.left = product(op.q_x, op.core.transposed()), .right = op.q_y.transposed()};
}

OperatorChain next_link(const OperatorChain& before, const LayerOperator& op) {
  const DenseMatrix between = product(product(before.right, op.q_x), op.core.transposed());
  return {.left = product(before.left, between), .right = op.q_y.transposed()};
}

}  // namespace ghost
