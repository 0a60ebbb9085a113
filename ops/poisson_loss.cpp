#include "ops/poisson_loss.h"

#include "engine/autograd/pullback.h"
#include "ops/poisson_loss_kernels.h"
#include "ops/scaled_rows_kernels.h"

namespace ghost {
namespace {

class PoissonLoss final : public Op {
 public:
  explicit PoissonLoss(const PoissonLossOptions& options) : options_(options) {}

  std::string_view name() const override { return "poisson_loss"; }
  ResidualSpecs residuals() const override { return {{"gradient", Role::kLossGradient}}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& u = node.input(0);
    PoissonLossForward args{
        .options = options_, .u = u, .targets = node.input(1), .loss = ctx.empty({1}, u.dtype())};
    if (node.is_recorded()) {
      args.gradient = ctx.empty_like(u);
    }
    dispatch(ctx, [&] { cpu::poisson_loss(args); });
    if (node.is_recorded()) {
      node.keep("gradient", args.gradient);
    }
    return {args.loss};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const TensorFacts& u = node.facts(0);
    Tensor du = ctx.empty(u.shape.with_first(dy.dim(0)), u.dtype);
    dispatch(ctx,
             [&] { cpu::scaled_rows({.x = node.residual("gradient"), .scale = dy, .y = du}); });
    pullback.give(0, du);
  }

 private:
  PoissonLossOptions options_;
};

}  // namespace

Tensor poisson_loss(Context& ctx, const Tensor& u, const Tensor& targets,
                    const PoissonLossOptions& options) {
  GHOST_CHECK(
      u.shape().rank() == 3 && u.dim(0) >= 3 && u.dim(2) == 1 && targets.numel() == u.dim(1),
      "shape mismatch in poisson_loss: u {} against targets {}; expected [2 + d, N, 1] and "
      "[N]",
      u.shape(), targets.shape());
  GHOST_CHECK(options.boundary_points >= 0 && options.boundary_points < u.dim(1),
              "poisson_loss: {} of {} points on the boundary; expected fewer",
              options.boundary_points, u.dim(1));
  return ctx.apply<PoissonLoss>({u, targets}, options);
}

}  // namespace ghost
