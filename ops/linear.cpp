#include "ops/linear.h"

#include "engine/autograd/pullback.h"
#include "ops/ema_sketch.h"
#include "ops/launch_linear.h"
#include "ops/partial_sums.h"
#include "ops/row_sketch.h"

namespace ghost {
namespace {

class Linear final : public Op {
 public:
  std::string_view name() const override { return "linear"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kLinearInput}, {"weight", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const Tensor& weight = node.input(1);
    Tensor y = ctx.empty(x.shape().with_last(weight.dim(0)), x.dtype());
    if (ctx.needs_outputs()) {
      ctx.count_gemm({.m = x.numel() / x.dim(-1), .n = weight.dim(0), .k = weight.dim(1)});
      launch_linear(ctx, LinearForward{.x = x, .weight = weight, .bias = node.input(2), .y = y});
    }
    if (node.is_recorded_input(1)) {
      keep_linear_input(ctx, node, "x", x);
    }
    node.keep("weight", weight);
    return {y};
  }

  // dx = dy weight,   dweight = dy^T x,   dbias = sum over rows of dy
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Tensor weight = node.residual("weight");
    const std::int64_t rows = dy.numel() / dy.dim(-1);
    const auto sketch = pullback.wanted(1) ? kept_sketch(node, "x") : nullptr;
    const auto ema_sketch = pullback.wanted(1) ? kept_ema_sketch(node, "x") : nullptr;
    if (sketch != nullptr) {
      weight_backward(ctx, node, pullback, sketch);
    } else if (ema_sketch != nullptr) {
      ema_sketch->write_gradient(ctx, dy, pullback.target(1));
      bias_backward(ctx, pullback);
    } else {
      weight_backward(ctx, node, pullback);
    }
    if (pullback.wanted(0)) {
      Tensor dx = ctx.empty(dy.shape().with_last(weight.dim(1)), dy.dtype());
      ctx.count_gemm({.m = rows, .n = weight.dim(1), .k = weight.dim(0)});
      launch_linear(ctx, LinearInputBackward{.dy = dy, .weight = weight, .dx = dx});
      pullback.give(0, dx);
    }
  }

 private:
  static void weight_backward(Context& ctx, const Node& node, Pullback& pullback) {
    const Tensor dy = pullback.dy();
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      ctx.count_gemm(
          {.m = target.grad.dim(0), .n = target.grad.dim(1), .k = dy.numel() / dy.dim(-1)});
      launch_linear(ctx, LinearWeightBackward{.dy = dy,
                                              .x = node.residual("x"),
                                              .dweight = target.grad,
                                              .accumulate = target.accumulate});
    }
    bias_backward(ctx, pullback);
  }

  static void bias_backward(Context& ctx, Pullback& pullback) {
    const Tensor dy = pullback.dy();
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      launch_linear(ctx, LinearBiasBackward{
                             .dy = dy,
                             .dbias = target.grad,
                             .accumulate = target.accumulate,
                             .partial = partial_sums(ctx, dy.numel() / dy.dim(-1), dy.dim(-1))});
    }
  }

  // One pass over dy makes its sketch, its norm and the bias gradient.
  static void weight_backward(Context& ctx, const Node& node, Pullback& pullback,
                              std::shared_ptr<const RowSketch> sketch) {
    const Tensor dy = pullback.dy();
    GradientSketch gradient(ctx, std::move(sketch), dy.dim(-1));
    std::optional<GradientTarget> dbias;
    if (pullback.wanted(2)) {
      dbias = pullback.target(2);
    }
    gradient.add(ctx, dy, /*first_row=*/0, dbias);
    gradient.write(ctx, pullback.target(1), node.module(), /*cotangent=*/{}, ctx.factor_exchange());
  }
};

}  // namespace

Tensor linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  GHOST_CHECK(weight.shape().rank() == 2 && x.dim(-1) == weight.dim(1),
              "shape mismatch in linear: x {} against weight {}; expected the last dimension of x "
              "to equal {}",
              x.shape(), weight.shape(), weight.dim(-1));
  GHOST_CHECK(!bias.defined() || bias.shape() == Shape{weight.dim(0)},
              "shape mismatch in linear: weight {} against bias {}; expected bias to be [{}]",
              weight.shape(), bias.shape(), weight.dim(0));
  return ctx.apply<Linear>({x, weight, bias});
}

}  // namespace ghost
