#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/autograd/context.h"
#include "engine/random/gaussian_matrix.h"
#include "ops/dense_matrix.h"

namespace ghost {

/// Which of the three sketches of an activation A [n, d] are kept, and how wide they are:
///
///   X = A^T Upsilon  [d, k],   Y = A^T Omega  [d, k],   Z = (A^T Phi) * (1 Psi^T)  [d, s]
struct ThreeSketchLayout {
  std::int64_t k = 5;  // columns of X and of Y
  std::int64_t s = 5;  // columns of Z
  bool has_x = true;
  bool has_y = true;
  bool has_z = true;
  bool is_tied = false;  // Phi = Upsilon, s = k: A^T Phi is X and takes no room of its own

  std::int64_t x_columns() const { return has_x || (is_tied && has_z) ? k : 0; }
  std::int64_t y_columns() const { return has_y ? k : 0; }
  std::int64_t z_columns() const { return has_z && !is_tied ? s : 0; }
  std::int64_t columns() const { return x_columns() + y_columns() + z_columns(); }
};

/// Numbers of the Gaussian matrices (GaussianMatrix::id).
enum class ProbeId : std::uint32_t {
  kUpsilon = 0,
  kOmega = 1,
  kPhi = 2,
  kPsi = 16,  // and the number of the layer
  // The maps of two-sided sketches, 64 further for each layer.
  kUpsilonFeatures = 32,
  kOmegaBatch = 33,
  kPhiFeatures = 34,
  kPsiBatch = 35,
  kThetaFeatures = 36,  // of the error estimate
};

/// Which random matrices: all layers share the seed's; a reset begins another generation.
struct ProbeNames {
  std::uint64_t seed = 0;
  std::int64_t generation = 0;

  GaussianMatrix matrix(ProbeId id, std::int64_t columns, std::int64_t offset = 0) const;
};

/// Rows [first_row, first_row + rows) of [Upsilon Omega Phi], as far as the layout has them:
/// [rows, layout.columns()]. Drawn again whenever they are needed, never stored.
Tensor draw_probes(const Context& ctx, const ThreeSketchLayout& layout, const ProbeNames& names,
                   std::int64_t first_row, std::int64_t rows, DType dtype);

/// Psi of a layer: s numbers, one for each column of Z.
std::vector<double> draw_psi(const ProbeNames& names, std::int64_t layer, std::int64_t s);

/// 1 / (1 - beta^updates), which takes the start from zero out of an average; 1 before the first
/// update.
double bias_correction(double beta, std::int64_t updates);

/// Exponential moving averages of the sketches of one activation, over steps:
///
///   X <- beta X + (1 - beta) A^T Upsilon,   likewise Y, and Z / Psi
///
/// which are the sketches of the average of A: with Abar(t) = (1 - beta) sum_j beta^(t - j) A(j),
/// X = Abar^T Upsilon. All start at zero; 1 / (1 - beta^t) takes their start out again. Psi is a
/// factor of columns and put in when Z is read. The state does not grow with n or t.
/// source  Antil and Verma 2025, arXiv:2510.00442, as far as it is known; docs/ema_sketch.md
class ThreeSketch {
 public:
  /// On the state of that name in `store`, zeros when it is new: [channels, layout.columns()] of
  /// `dtype`, f32 or f64, and the count of updates.
  ThreeSketch(StateStore& store, const std::string& name, const ThreeSketchLayout& layout,
              std::int64_t channels, DType dtype);

  struct Update {
    double beta = 0;          // in [0, 1)
    double weight = 1;        // of this batch, besides 1 - beta
    bool is_further = false;  // another micro-batch of the same step: adds to the average's newest
  };
  /// Takes in A [n, d] with the probes of its rows, [n or more, layout.columns()]: one product over
  /// A. A, probes and state have one dtype; on a GPU A and probes may be bf16 beside a state of
  /// f32.
  void update(const Context& ctx, const Tensor& a, const Tensor& probes, const Update& update);

  /// The same for A = B weight^T, an output that never exists as a whole, from B [n, c] and the
  /// weight [d, c]: A^T P = weight (B^T P).
  void update_product(const Context& ctx, const Tensor& b, const Tensor& weight,
                      const Tensor& probes, const Update& update);

  /// Zeros, and no updates.
  void reset();

  const ThreeSketchLayout& layout() const { return layout_; }
  std::int64_t channels() const { return values_.dim(0); }
  /// t, steps taken in since the last reset.
  std::int64_t updates() const { return updates_; }
  double bias_correction(double beta) const { return ghost::bias_correction(beta, updates_); }
  /// Of the sketches: channels * columns numbers, and 8 for t.
  std::int64_t bytes() const { return values_.bytes() + clock_.bytes(); }

  /// X | Y | Z / Psi, [channels, layout.columns()].
  const Tensor& values() const { return values_; }
  /// On the host, not corrected for the start. Wait for a GPU.
  DenseMatrix x() const;
  DenseMatrix y() const;
  DenseMatrix z_over_psi() const;
  DenseMatrix z(const std::vector<double>& psi) const;
  /// [X, Y, Z / Psi], or what of them is kept.
  DenseMatrix all() const;

 private:
  void begin(const Update& update);

  ThreeSketchLayout layout_;
  Tensor values_;
  Tensor clock_;  // [1] on the host: t, for checkpoints
  std::int64_t updates_ = 0;
};

}  // namespace ghost
