#include "ops/conv2d.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/conv2d_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know of a backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(ctx, [&] { cpu::conv2d(args); });
}

/// [P, B, ...] to [P * B, ...].
Tensor joined(const Tensor& x) {
  return x.reshape(x.shape().without_first().without_first().with_first(x.dim(0) * x.dim(1)));
}

void put(const GradientTarget& target, const Tensor& gradient) {
  target.accumulate ? accumulate(target.grad, gradient) : copy(target.grad, gradient);
}

class Conv2d final : public Op {
 public:
  std::string_view name() const override { return "conv2d"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kActivationInput}, {"weight", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const Tensor& weight = node.input(1);
    Tensor y = ctx.empty({x.dim(0), weight.dim(0), x.dim(2), x.dim(3)}, x.dtype());
    launch(ctx, Conv2dForward{.x = x, .weight = weight, .bias = node.input(2), .y = y});
    node.keep("x", x);
    node.keep("weight", weight);
    return {y};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = joined(pullback.dy());
    const Tensor weight = node.residual("weight");
    const bool has_bias = node.facts(2).shape.rank() > 0 && pullback.wanted(2);
    if (pullback.wanted(1)) {
      const Tensor dweight = ctx.empty_like(weight);
      const Tensor dbias = has_bias ? ctx.empty({weight.dim(0)}, weight.dtype()) : Tensor{};
      launch(ctx, Conv2dWeightBackward{
                      .dy = dy, .x = node.residual("x"), .dweight = dweight, .dbias = dbias});
      put(pullback.target(1), dweight);
      if (has_bias) {
        put(pullback.target(2), dbias);
      }
    } else if (has_bias) {
      fail("conv2d: a bias is trained and its weight is not; expected both or neither");
    }
    if (pullback.wanted(0)) {
      const std::int64_t basis = pullback.basis_size();
      Tensor dx = ctx.empty(node.facts(0).shape.with_first(basis), dy.dtype());
      launch(ctx, Conv2dInputBackward{.dy = dy, .weight = weight, .dx = joined(dx)});
      pullback.give(0, dx);
    }
  }
};

}  // namespace

Tensor conv2d(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const bool fits = x.shape().rank() == 4 && weight.shape().rank() == 4 &&
                    x.dim(1) == weight.dim(1) && weight.dim(2) == weight.dim(3) &&
                    weight.dim(2) % 2 == 1;
  GHOST_CHECK(fits,
              "shape mismatch in conv2d: x {} against weight {}; expected [B, C, H, W] and [M, C, "
              "K, K] with an odd K",
              x.shape(), weight.shape());
  GHOST_CHECK(!bias.defined() || bias.shape() == Shape{weight.dim(0)},
              "shape mismatch in conv2d: weight {} against bias {}; expected bias to be [{}]",
              weight.shape(), bias.shape(), weight.dim(0));
  return ctx.apply<Conv2d>({x, weight, bias});
}

}  // namespace ghost
