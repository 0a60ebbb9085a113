#include "ops/causal_conv1d.h"

#include "engine/autograd/pullback.h"
#include "ops/causal_conv1d_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::causal_conv1d(args); }, [&] { cuda::causal_conv1d(args); });
}

class CausalConv1d final : public Op {
 public:
  explicit CausalConv1d(ConvActivation activation)
      : has_silu_(activation == ConvActivation::kSilu) {}

  std::string_view name() const override { return "causal_conv1d"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kActivationInput},
            {"weight", Role::kParameter},
            {"bias", Role::kParameter},
            {"state", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    node.keep("x", node.input(0));
    node.keep("weight", node.input(1));
    node.keep("bias", node.input(2));
    node.keep("state", node.input(3));
    return {value(ctx, node.input(0), node.input(1), node.input(2), node.input(3))};
  }

  // dy is [P, B, T, C]. With l the argument of silu and g = dy * silu'(l):
  //   dx[t,c] = sum_k weight[c,k] g[t+(K-1)-k, c],   dstate the same for t < 0
  //   dweight[c,k] = sum_t g[t,c] x[t-(K-1)+k, c],   dbias[c] = sum_t g[t,c]
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    CausalConv1dBackward args{.x = node.residual("x"),
                              .weight = node.residual("weight"),
                              .bias = node.residual("bias"),
                              .state = node.residual("state"),
                              .dy = dy,
                              .has_silu = has_silu_};
    if (ctx.device().is_cpu()) {
      args.dlinear = has_silu_ ? ctx.empty_like(dy) : dy;
    }
    const std::int64_t channels = dy.dim(-1);
    const std::int64_t rows = dy.numel() / channels / 4;  // a block takes 128 tokens at once
    if (pullback.wanted(0)) {
      args.dx = ctx.empty_like(dy);
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      args.dweight = target.grad;
      args.accumulate_dweight = target.accumulate;
      args.dweight_partial = partial_sums(ctx, rows, target.grad.numel());
    }
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      args.dbias = target.grad;
      args.accumulate_dbias = target.accumulate;
      args.dbias_partial = partial_sums(ctx, rows, channels);
    }
    if (pullback.wanted(3)) {
      const Shape& state = args.state.shape();
      args.dstate = ctx.empty({dy.dim(0), state[0], state[1], state[2]}, dy.dtype());
    }
    launch(ctx, args);
    pullback.give(0, args.dx);
    pullback.give(3, args.dstate);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    return value(ctx, node.residual("x"), node.residual("weight"), node.residual("bias"),
                 node.residual("state"));
  }

 private:
  Tensor value(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
               const Tensor& state) const {
    Tensor y = ctx.empty_like(x);
    launch(
        ctx,
        CausalConv1dForward{
            .x = x, .weight = weight, .bias = bias, .state = state, .y = y, .has_silu = has_silu_});
    return y;
  }

  bool has_silu_;
};

void check_state(const Tensor& x, std::int64_t taps, const Tensor& state) {
  GHOST_CHECK(x.shape().rank() == 3, "causal_conv1d: x is {}; expected [B,T,C]", x.shape());
  const Shape expected{x.dim(0), taps - 1, x.dim(2)};
  GHOST_CHECK(!state.defined() || state.shape() == expected,
              "shape mismatch in causal_conv1d: x {} against state {}; expected {} for {} taps",
              x.shape(), state.shape(), expected, taps);
  GHOST_CHECK(!state.defined() || state.dtype() == x.dtype(),
              "causal_conv1d: state must have the dtype of x, {}", dtype_name(x.dtype()));
}

}  // namespace

Tensor causal_conv1d(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     ConvActivation activation, const Tensor& state) {
  const std::int64_t taps = weight.dim(-1);
  check_state(x, taps, state);
  const std::int64_t channels = x.dim(2);
  GHOST_CHECK(
      weight.shape() == Shape({channels, taps}) || weight.shape() == Shape({channels, 1, taps}),
      "shape mismatch in causal_conv1d: x {} against weight {}; expected [{},K] or "
      "[{},1,K]",
      x.shape(), weight.shape(), channels, channels);
  GHOST_CHECK(!bias.defined() || bias.shape() == Shape{channels},
              "shape mismatch in causal_conv1d: x {} against bias {}; expected {}", x.shape(),
              bias.shape(), Shape{channels});
  GHOST_CHECK(weight.dtype() == x.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
              "causal_conv1d: weight and bias must have the dtype of x, {}", dtype_name(x.dtype()));
  return ctx.apply<CausalConv1d>({x, weight, bias, state}, activation);
}

Tensor causal_conv1d_state(Context& ctx, const Tensor& x, std::int64_t taps, const Tensor& state) {
  check_state(x, taps, state);
  Tensor next = ctx.empty({x.dim(0), taps - 1, x.dim(2)}, x.dtype());
  launch(ctx, CausalConv1dState{.x = x, .state = state, .next = next});
  return next;
}

}  // namespace ghost
