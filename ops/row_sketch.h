#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/autograd/context.h"
#include "engine/autograd/pullback.h"
#include "engine/autograd/residual_sketch.h"
#include "ops/row_bins.h"
#include "ops/row_bins_kernels.h"
#include "ops/row_groups.h"

namespace ghost {

struct LogitsSketch;

/// A linear's input X [rows, N] in R rows: what remains of it for the weight gradient.
///
///   Xt = S X,   dW = scale (1 - lambda)^2 gamma_x gamma_y (S dY)^T (S X)
///   gamma_x = |X| / (|S X| + 1e-8), likewise gamma_y; 1 without `invariant`
///
/// With groups, E = X - mu[group] is sketched instead and sum_g (sum of dY over g)^T mu_g added;
/// with several levels of them E = X - (sum over levels of mu[group of the level]).
/// S is drawn again in backward from its key; what cannot be drawn again (groups, rows picked by
/// their length) is kept as indices. On a GPU the bins are made there, and lengths and factors stay
/// there: nothing waits for the device.
/// source  Khasia 2026, arXiv:2604.16324, algorithm 1; the options are described in docs/basis.md
class RowSketch final : public ResidualSketch {
 public:
  /// x [..., N]; the rank is cut to the rows. Norms are summed in f64.
  RowSketch(const Context& ctx, const Tensor& x, const SketchConfig& config,
            const RandomStream& stream, std::int64_t rank);
  /// With a given S instead of a drawn one.
  RowSketch(const Context& ctx, const Tensor& x, const SketchConfig& config, RowBins bins);

  std::int64_t bytes() const override;
  std::int64_t rows() const { return rows_; }
  /// Rows of values().
  std::int64_t rank() const { return values_.dim(0); }
  /// S X, or the means of the groups and below them S E: [R, N]. With blocks of columns the means
  /// of one block lie below those of the other: [blocks * R, N / blocks].
  const Tensor& values() const { return values_; }
  /// Waits for a GPU.
  double gamma() const;

 private:
  friend class GradientSketch;

  /// What a GPU holds in place of numbers and vectors of the host.
  struct DeviceParts {
    Tensor squared_norm;  // [1] f64
    Tensor gamma;         // [1] f64; undefined: 1
    Tensor pick_weights;  // [R] f32
  };

  static constexpr double kNormEps = 1e-8;  // added to a sketch's norm by the reference program

  bool is_dense() const { return config_.sketch != SketchMethod::kCount; }
  bool picks_by_length() const;
  /// Probability that two rows share a bin.
  double collision_probability() const;

  RowBins gradient_bins() const;
  void pick_rows(const Context& ctx, const Tensor& x, std::int64_t rank);
  void sketch_all(const Context& ctx, const Tensor& x);
  void sketch_groups(const Context& ctx, const Tensor& x, std::int64_t rank);
  void multiply_dense(const Context& ctx, const Tensor& x, std::int64_t first_row,
                      const Tensor& out, bool accumulate) const;
  std::int64_t num_groups() const { return groups_.num_groups(); }
  Tensor means_of_block(const Tensor& values, std::int64_t block) const;
  double gamma_of(double squared_norm, const Tensor& sketched) const;

  // The same on a GPU (ops/cuda/device_sketch.cpp).
  DeviceBins device_bins(const Context& ctx) const;
  void pick_rows_on_gpu(const Context& ctx, const Tensor& lengths);
  void sketch_all_on_gpu(const Context& ctx, const Tensor& x);
  void sketch_groups_on_gpu(const Context& ctx, const Tensor& x, std::int64_t sweeps);
  Tensor device_gamma(const Context& ctx, const Tensor& squared_norm, const Tensor& sketched) const;

  SketchConfig config_;
  RandomStream stream_;
  std::int64_t rows_ = 0;
  Tensor values_;
  RowGroups groups_;              // none without `center`
  std::optional<RowBins> given_;  // S, where it was given
  Tensor picked_;                 // [R] i32: of rows by length
  std::vector<double> pick_weights_;
  Tensor row_norms_;         // [rows], for `wiener`
  double squared_norm_ = 0;  // of what is sketched: X or E
  double gamma_ = 1;
  DeviceParts device_;
};

/// Keeps x as the op's residual `name`: a sketch where the plan says so (this one, or EmaSketch),
/// else as any residual.
void keep_linear_input(Context& ctx, Node& node, std::string_view name, const Tensor& x);
/// The sketch that keep_linear_input has kept, or null.
std::shared_ptr<const RowSketch> kept_sketch(const Node& node, std::string_view name);

/// The other half: the same rows of dY [rows, M], a piece at a time.
class GradientSketch final : public ResidualSketch {
 public:
  GradientSketch(const Context& ctx, std::shared_ptr<const RowSketch> sketch, std::int64_t columns);

  /// Adds rows [first_row, first_row + n) of dY, [n, M]; their sum goes to `dbias` if given.
  void add(const Context& ctx, const Tensor& dy, std::int64_t first_row,
           const std::optional<GradientTarget>& dbias = {});

  /// The same for the gradient of logits [rows, M]: `fill` forms it piece by piece and adds each to
  /// the sketch it is given.
  void form(const Context& ctx, const std::function<void(const LogitsSketch&)>& fill);

  /// dW [M, N], times `cotangent`, one number, if given. `site` names the linear, for what `wiener`
  /// remembers of it. Of all ranks together where `exchange` is given and takes it (on the CPU).
  void write(Context& ctx, const GradientTarget& dweight, std::string_view site,
             const Tensor& cotangent = {}, FactorExchange* exchange = nullptr) const;

  std::int64_t bytes() const override { return values_.bytes(); }
  const Tensor& values() const { return values_; }
  /// Waits for a GPU.
  double gamma() const;

 private:
  /// What a GPU holds in place of numbers and vectors of the host.
  struct DeviceParts {
    DeviceBins bins;
    Tensor squared_norm;   // [1] f64
    Tensor norm_products;  // [1] f64
    Tensor sums;           // [R, M] f32, while pieces are added to values in bf16
  };

  static constexpr double kWienerDecay = 0.95;  // of running means

  /// Rows [begin, end) of both halves, whose product times `alpha` goes to columns of dW.
  struct Product {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t first_column = 0;
    double alpha = 1;
  };
  std::vector<Product> products(Context& ctx, std::string_view site, const Tensor& cotangent) const;

  Tensor wiener_state(Context& ctx, std::string_view site) const;
  double wiener_factor(Context& ctx, std::string_view site) const;

  // The same on a GPU (ops/cuda/device_sketch.cpp).
  void add_on_gpu(const Context& ctx, const Tensor& dy, std::int64_t first_row,
                  const std::optional<GradientTarget>& dbias);
  void form_on_gpu(const Context& ctx, const std::function<void(const LogitsSketch&)>& fill);
  void write_on_gpu(Context& ctx, const GradientTarget& dweight, std::string_view site,
                    const Tensor& cotangent) const;

  std::shared_ptr<const RowSketch> sketch_;
  RowBins bins_;
  Tensor values_;  // [R, M]
  double squared_norm_ = 0;
  double norm_products_ = 0;  // sum over rows of |x_i|^2 |dy_i|^2, for `wiener`
  DeviceParts device_;
};

/// A gradient sketch that the op itself has kept with keep_sketch, or null.
std::shared_ptr<const GradientSketch> kept_gradient(const Node& node, std::string_view name);

}  // namespace ghost
