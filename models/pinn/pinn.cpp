#include "models/pinn/pinn.h"

#include <cmath>

#include "engine/config/check_range.h"
#include "engine/tensor/host.h"
#include "models/module.h"
#include "ops/poisson_loss.h"

namespace ghost {
namespace {

constexpr std::int64_t kCoordinates = 2;

}  // namespace

void PinnConfig::validate(const std::string& prefix) const {
  dense().validate(prefix);
  check_range(boundary_weight >= 0 && std::isfinite(boundary_weight), prefix + "boundary_weight",
              boundary_weight, "a number >= 0");
}

Pinn::Pinn(const PinnConfig& config, std::int64_t boundary_points)
    : config_(config),
      boundary_points_(boundary_points),
      layers_(parameters_, config.dense(), kCoordinates, /*out=*/1) {}

Tensor Pinn::loss(Context& ctx, const Tensor& points, const Tensor& targets) {
  const Tensor u = layers_.forward_taylor(ctx, points);
  return in_module(ctx, "loss", [&] {
    return poisson_loss(
        ctx, u, targets,
        {.boundary_points = boundary_points_, .boundary_weight = config_.boundary_weight});
  });
}

Tensor Pinn::solution(Context& ctx, const Tensor& points) const {
  return layers_.forward(ctx, points).reshape({points.dim(0)});
}

BatchScore Pinn::score_batch(Context& ctx, const Tensor& points, const Tensor& targets) {
  const Tensor found = on_host(solution(ctx, points));
  const Tensor exact = on_host(targets);
  BatchScore score{.rows = static_cast<double>(points.dim(0))};
  visit_real(found.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < found.numel(); ++i) {
      const double u = exact.data<T>()[i];
      const double error = found.data<T>()[i] - u;
      score.numerator += error * error;
      score.denominator += u * u;
    }
  });
  score.loss = score.numerator / score.rows;
  return score;
}

BatchLayout Pinn::batch_layout(std::int64_t batch_size, std::int64_t /*seq_len*/,
                               DType activations) const {
  const std::int64_t points = batch_size + boundary_points_;
  return {.inputs = {points, kCoordinates},
          .input_dtype = activations,
          .targets = {points},
          .target_dtype = activations};
}

double Pinn::score(double numerator, double denominator) const {
  return std::sqrt(numerator / denominator);
}

}  // namespace ghost
