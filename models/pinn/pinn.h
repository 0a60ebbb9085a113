#pragma once

#include "models/mlp/dense_layers.h"
#include "models/model.h"
#include "models/pinn/pinn_config.h"

namespace ghost {

/// u(x, y) as an MLP. Its loss is that of poisson_loss, its score the relative L2 error over the
/// points of an evaluation, sqrt(sum (u - u*)^2 / sum u*^2), its loss there the mean square error.
class Pinn final : public Model {
 public:
  /// The last `boundary_points` points of a batch are on the boundary.
  Pinn(const PinnConfig& config, std::int64_t boundary_points);

  std::string_view architecture() const override { return "pinn"; }
  ParameterStore& parameters() override { return parameters_; }

  /// points [N, 2], targets [N]: f, and u on the boundary.
  Tensor loss(Context& ctx, const Tensor& points, const Tensor& targets) override;
  /// u [N] at points [N, 2].
  Tensor solution(Context& ctx, const Tensor& points) const;
  /// targets [N]: u*.
  BatchScore score_batch(Context& ctx, const Tensor& points, const Tensor& targets) override;

  /// `batch_size` inner points and those of the boundary.
  BatchLayout batch_layout(std::int64_t batch_size, std::int64_t seq_len,
                           DType activations) const override;
  std::int64_t index_bound() const override { return 0; }
  std::string_view score_name() const override { return "l2_error"; }
  double score(double numerator, double denominator) const override;
  std::string_view item_name() const override { return "point"; }
  std::int64_t num_layers() const override { return layers_.size(); }
  double flops_per_item(std::int64_t /*seq_len*/) const override {
    return 4 * 6 * layers_.num_weights();
  }
  std::string_view flops_formula() const override { return "4 x 6 N: u, u_x, u_y, Laplacian"; }

 private:
  PinnConfig config_;
  std::int64_t boundary_points_;
  ParameterStore parameters_;
  DenseLayers layers_;
};

}  // namespace ghost
