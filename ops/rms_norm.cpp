#include "ops/rms_norm.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/partial_sums.h"
#include "ops/rms_norm_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::rms_norm(args); }, [&] { cuda::rms_norm(args); });
}

Tensor as(const Context& ctx, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) {
    return x;
  }
  Tensor y = ctx.empty(x.shape(), dtype);
  cast(y, x);
  return y;
}

// Kernels know one dtype, that of x: gain and dy come in and y goes out through it.
class RmsNorm final : public Op {
 public:
  explicit RmsNorm(double eps) : eps_(eps) {}

  std::string_view name() const override { return "rms_norm"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kNormInput}, {"gain", Role::kParameter}, {"rstd", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    Tensor rstd = ctx.empty(x.shape().without_last(), statistic_dtype(x.dtype()));
    // The normalised x has a range that integers like, wherever the residual stream has gone.
    const bool keeps_normalized = is_scaled(node.planned_keep("x", x));
    const Tensor normalized = keeps_normalized ? ctx.empty_like(x) : Tensor{};
    const Tensor& gain = node.input(1);
    launch(ctx, RmsNormForward{.x = x,
                               .gain = as(ctx, gain, x.dtype()),
                               .y = y,
                               .rstd = rstd,
                               .normalized = normalized,
                               .eps = eps_});
    node.keep("x", keeps_normalized ? normalized : x);
    node.keep("gain", gain);
    node.keep("rstd", rstd);
    return {as(ctx, y, gain.dtype())};
  }

  // dy is [P, ..., C]. With n = x * rstd and g = dy * gain:
  //   dx = rstd * (g - n * mean(g * n)),   dgain = sum dy * n
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const DType dtype = node.facts(0).dtype;
    const Tensor dy = as(ctx, pullback.dy(), dtype);
    RmsNormBackward args{.x = node.residual("x"),
                         .gain = as(ctx, node.residual("gain"), dtype),
                         .rstd = node.residual("rstd"),
                         .dy = dy,
                         .is_normalized = is_scaled(node.kept_as("x"))};
    if (pullback.wanted(0)) {
      args.dx = ctx.empty_like(dy);
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      args.dgain = target.grad;
      args.accumulate_dgain = target.accumulate;
      args.dgain_partial = partial_sums(ctx, args.rstd.numel(), dy.dim(-1));
    }
    launch(ctx, args);
    pullback.give(0, args.dx);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    const Tensor x = node.residual("x");
    const Tensor gain = node.residual("gain");
    Tensor y = ctx.empty_like(x);
    launch(ctx, RmsNormApply{.x = x,
                             .gain = as(ctx, gain, x.dtype()),
                             .rstd = node.residual("rstd"),
                             .y = y,
                             .is_normalized = is_scaled(node.kept_as("x"))});
    return as(ctx, y, gain.dtype());
  }

 private:
  double eps_;
};

}  // namespace

Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& gain, double eps) {
  GHOST_CHECK(eps > 0, "rms_norm: eps is {}; expected a positive number", eps);
  const Shape expected{x.dim(-1)};
  GHOST_CHECK(gain.shape() == expected,
              "shape mismatch in rms_norm: x {} against gain {}; expected gain to be {}", x.shape(),
              gain.shape(), expected);
  GHOST_CHECK(gain.dtype() == x.dtype() || x.dtype() == statistic_dtype(gain.dtype()),
              "dtype mismatch in rms_norm: x {} against gain {}; expected one dtype",
              dtype_name(x.dtype()), dtype_name(gain.dtype()));
  return ctx.apply<RmsNorm>({x, gain}, eps);
}

}  // namespace ghost
