#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/autograd/context.h"
#include "engine/tensor/host.h"
#include "ops/rebuilt_input.h"
#include "ops/three_sketch.h"

namespace ghost {

/// Three sketches of an activation by maps on both sides: with M = A^T [d, n] and Gaussian
/// Upsilon_f [k, d], Omega_b [k, n], Phi_f [s, d], Psi_b [s, n],
///
///   X = Upsilon_f M,   Y = M Omega_b^T,   Z = Phi_f M Psi_b^T
///
/// averaged over steps as ThreeSketch, where rows of later batches are the same samples; else with
/// beta = 0. With k = 2r + 1 and s = 2k + 1 what is rebuilt is off by sqrt(6) times the best of
/// rank r, in the mean square. The state grows with n, by k numbers a row.
/// source  Tropp, Yurtsever, Udell and Cevher 2019, arXiv:1902.08651, section 2
class TwoSidedSketch {
 public:
  struct Sizes {
    std::int64_t k = 5;
    std::int64_t s = 11;
    std::int64_t errors = 0;  // rows q of the map of the error estimate; 0: none
  };
  /// On the state of that name in `store`, for A [rows, channels]. `layer` tells the maps of layers
  /// apart; `dtype`, f32 or f64, is that of the state.
  TwoSidedSketch(StateStore& store, const std::string& name, const Sizes& sizes,
                 const ProbeNames& names, std::int64_t layer, std::int64_t rows,
                 std::int64_t channels, DType dtype);

  /// Takes in A [rows, channels], in the dtype of the state.
  void update(const Context& ctx, const Tensor& a, double beta);

  std::int64_t updates() const { return updates_; }
  /// k (d + n) + s^2 numbers, q n of the error estimate, and 8 for t.
  std::int64_t bytes() const;

  /// Mhat = Q C P^T with Y = Q T, X^T = P W, C = (Phi_f Q)^+ Z ((Psi_b P)^+)^T, cut to `rank` if
  /// given: u = P, v = C^T Q^T. Not corrected for the start of the average.
  RebuiltInput rebuild(std::optional<std::int64_t> rank = {}) const;
  /// |Theta (M - Mhat)| / sqrt(q), which estimates |M - Mhat|; needs `errors`. All that is read
  /// waits for a GPU.
  double error(const RebuiltInput& rebuilt) const;

  DenseMatrix x() const { return DenseMatrix::from(on_host(x_)).transposed(); }
  DenseMatrix y() const { return DenseMatrix::from(on_host(y_)).transposed(); }
  DenseMatrix z() const { return DenseMatrix::from(on_host(z_)).transposed(); }

 private:
  /// A map, [size, of], on the device of `ctx` or as a matrix.
  Tensor drawn(const Context& ctx, DType dtype, ProbeId id, std::int64_t size,
               std::int64_t of) const;
  DenseMatrix map(ProbeId id, std::int64_t size, std::int64_t of) const;
  std::int64_t rows() const { return x_.dim(0); }
  std::int64_t channels() const { return y_.dim(1); }

  Sizes sizes_;
  ProbeNames names_;
  std::int64_t layer_;
  // Transposed, as the products give them.
  Tensor x_;       // [n, k]
  Tensor y_;       // [k, d]
  Tensor z_;       // [s, s]
  Tensor errors_;  // [n, q] or undefined
  Tensor clock_;   // [1] on the host
  std::int64_t updates_ = 0;
};

}  // namespace ghost
