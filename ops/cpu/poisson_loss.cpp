#include "engine/tensor/primitives.h"
#include "ops/poisson_loss_kernels.h"

namespace ghost::cpu {
namespace {

/// weight * mean of (value - sign * target)^2 over points [begin, end), and its gradient.
template <typename T>
double mean_square(const T* value, const T* target, T sign, std::int64_t begin, std::int64_t end,
                   double weight, T* gradient) {
  double total = 0;
  const double share = end > begin ? weight / static_cast<double>(end - begin) : 0;
  for (std::int64_t i = begin; i < end; ++i) {
    const T error = value[i] - sign * target[i];
    total += static_cast<double>(error) * static_cast<double>(error);
    if (gradient != nullptr) {
      gradient[i] = static_cast<T>(2 * share) * error;
    }
  }
  return share * total;
}

}  // namespace

void poisson_loss(const PoissonLossForward& args) {
  const std::int64_t points = args.u.dim(1);
  const std::int64_t inner = points - args.options.boundary_points;
  const std::int64_t laplacian = (args.u.dim(0) - 1) * points;
  visit_real(args.u.dtype(), [&]<typename T>() {
    const T* u = args.u.data<T>();
    const T* targets = args.targets.data<T>();
    T* gradient = nullptr;
    if (args.gradient.defined()) {
      fill_zero(args.gradient);
      gradient = args.gradient.data<T>();
    }
    const double residual = mean_square(u + laplacian, targets, T{-1}, 0, inner, 1,
                                        gradient == nullptr ? nullptr : gradient + laplacian);
    const double boundary =
        mean_square(u, targets, T{1}, inner, points, args.options.boundary_weight, gradient);
    *args.loss.data<T>() = static_cast<T>(residual + boundary);
  });
}

}  // namespace ghost::cpu
