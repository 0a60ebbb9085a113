#include "ops/cross_entropy.h"

#include "engine/autograd/pullback.h"
#include "ops/cross_entropy_kernels.h"
#include "ops/scaled_rows_kernels.h"

namespace ghost {
namespace {

class CrossEntropy final : public Op {
 public:
  std::string_view name() const override { return "cross_entropy"; }
  ResidualSpecs residuals() const override { return {{"gradient", Role::kLossGradient}}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& logits = node.input(0);
    const std::int64_t rows = node.input(1).numel();
    CrossEntropyForward args{.logits = logits.reshape({rows, logits.dim(-1)}).detach(),
                             .targets = node.input(1),
                             .loss = ctx.empty({1}, logits.dtype())};
    if (node.is_recorded()) {
      args.gradient = ctx.empty(args.logits.shape(), logits.dtype());
    }
    dispatch(ctx, [&] { cpu::cross_entropy(args); });
    if (node.is_recorded()) {
      node.keep("gradient", args.gradient);
    }
    return {args.loss};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const TensorFacts& logits = node.facts(0);
    Tensor dx = ctx.empty(logits.shape.with_first(dy.dim(0)), logits.dtype);
    dispatch(ctx,
             [&] { cpu::scaled_rows({.x = node.residual("gradient"), .scale = dy, .y = dx}); });
    pullback.give(0, dx);
  }
};

}  // namespace

Tensor cross_entropy(Context& ctx, const Tensor& logits, const Tensor& targets) {
  GHOST_CHECK(logits.shape().rank() >= 2 && logits.numel() / logits.dim(-1) == targets.numel(),
              "shape mismatch in cross_entropy: logits {} against targets {}; expected a target a "
              "row",
              logits.shape(), targets.shape());
  return ctx.apply<CrossEntropy>({logits, targets});
}

}  // namespace ghost
