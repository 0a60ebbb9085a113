#include "ops/layer_norm.h"

#include "engine/autograd/pullback.h"
#include "ops/layer_norm_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::layer_norm(args); }, [&] { cuda::layer_norm(args); });
}

class LayerNorm final : public Op {
 public:
  explicit LayerNorm(double eps) : eps_(eps) {}

  std::string_view name() const override { return "layer_norm"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kNormInput},
            {"gain", Role::kParameter},
            {"bias", Role::kParameter},
            {"mean", Role::kStatistic},
            {"rstd", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    Tensor mean = ctx.empty(x.shape().without_last(), statistic_dtype(x.dtype()));
    Tensor rstd = ctx.empty(x.shape().without_last(), statistic_dtype(x.dtype()));
    // The normalised x has a range that integers like, wherever the residual stream has gone.
    const bool keeps_normalized = is_scaled(node.planned_keep("x", x));
    const Tensor normalized = keeps_normalized ? ctx.empty_like(x) : Tensor{};
    launch(ctx, LayerNormForward{.x = x,
                                 .gain = node.input(1),
                                 .bias = node.input(2),
                                 .y = y,
                                 .mean = mean,
                                 .rstd = rstd,
                                 .normalized = normalized,
                                 .eps = eps_});
    node.keep("x", keeps_normalized ? normalized : x);
    node.keep("gain", node.input(1));
    node.keep("bias", node.input(2));
    node.keep("mean", keeps_normalized ? Tensor{} : mean);
    node.keep("rstd", rstd);
    return {y};
  }

  // dy is [P, ..., C]. With n = (x - mean) * rstd and g = dy * gain:
  //   dx = rstd * (g - mean(g) - n * mean(g * n)),   dgain = sum dy * n,   dbias = sum dy
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    LayerNormBackward args{.x = node.residual("x"),
                           .gain = node.residual("gain"),
                           .mean = node.residual("mean"),
                           .rstd = node.residual("rstd"),
                           .dy = dy};
    const std::int64_t rows = args.rstd.numel();
    if (pullback.wanted(0)) {
      args.dx = ctx.empty_like(dy);
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      args.dgain = target.grad;
      args.accumulate_dgain = target.accumulate;
      args.dgain_partial = partial_sums(ctx, rows, dy.dim(-1));
    }
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      args.dbias = target.grad;
      args.accumulate_dbias = target.accumulate;
      args.dbias_partial = partial_sums(ctx, rows, dy.dim(-1));
    }
    launch(ctx, args);
    pullback.give(0, args.dx);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    const Tensor x = node.residual("x");
    Tensor y = ctx.empty_like(x);
    launch(ctx, LayerNormApply{.x = x,
                               .gain = node.residual("gain"),
                               .bias = node.residual("bias"),
                               .mean = node.residual("mean"),
                               .rstd = node.residual("rstd"),
                               .y = y});
    return y;
  }

 private:
  double eps_;
};

}  // namespace

Tensor layer_norm(Context& ctx, const Tensor& x, const Tensor& gain, const Tensor& bias,
                  double eps) {
  GHOST_CHECK(eps > 0, "layer_norm: eps is {}; expected a positive number", eps);
  const Shape expected{x.dim(-1)};
  GHOST_CHECK(gain.shape() == expected,
              "shape mismatch in layer_norm: x {} against gain {}; expected gain to be {}",
              x.shape(), gain.shape(), expected);
  GHOST_CHECK(!bias.defined() || bias.shape() == expected,
              "shape mismatch in layer_norm: x {} against bias {}; expected bias to be {}",
              x.shape(), bias.shape(), expected);
  GHOST_CHECK(gain.dtype() == x.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
              "layer_norm: gain and bias must have the dtype of x, {}", dtype_name(x.dtype()));
  return ctx.apply<LayerNorm>({x, gain, bias}, eps);
}

}  // namespace ghost
