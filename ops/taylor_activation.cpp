#include "ops/taylor_activation.h"

#include "engine/autograd/pullback.h"
#include "ops/linear_kernels.h"
#include "ops/partial_sums.h"
#include "ops/taylor_activation_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know of a backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(ctx, [&] { cpu::taylor_activation(args); });
}

class TaylorActivation final : public Op {
 public:
  explicit TaylorActivation(TaylorFunction function) : function_(function) {}

  std::string_view name() const override { return "taylor_activation"; }
  ResidualSpecs residuals() const override {
    return {{"z", Role::kActivationInput}, {"bias", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& z = node.input(0);
    const Tensor& bias = node.input(1);
    Tensor y = ctx.empty_like(z);
    launch(ctx, TaylorActivationForward{.function = function_, .z = z, .bias = bias, .y = y});
    node.keep("z", z);
    if (bias.defined()) {
      node.keep("bias", bias);
    }
    return {y};
  }

  // With the derivatives f', f'', f''' at v, and S, L as above:
  //   dv = dy_0 f' + f'' sum over i of dy_i z_i + dy_L (f''' S + f'' L)
  //   dz_i = dy_i f' + 2 dy_L f'' z_i,   dz_L = dy_L f',   dbias = sum over points of dv
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const bool has_bias = node.facts(1).shape.rank() > 0;
    const Tensor dz = ctx.empty_like(dy);
    launch(ctx, TaylorActivationBackward{.function = function_,
                                         .z = node.residual("z"),
                                         .bias = has_bias ? node.residual("bias") : Tensor{},
                                         .dy = dy,
                                         .dz = dz});
    if (has_bias && pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      const Tensor dv = dz.reshape(dz.shape().without_first()).slice(0, 1);
      const std::int64_t rows = dv.numel() / dv.dim(-1);
      dispatch(ctx, [&] {
        cpu::linear(LinearBiasBackward{.dy = dv.reshape({rows, dv.dim(-1)}),
                                       .dbias = target.grad,
                                       .accumulate = target.accumulate,
                                       .partial = partial_sums(ctx, rows, dv.dim(-1))});
      });
    }
    if (pullback.wanted(0)) {
      pullback.give(0, dz);
    }
  }

 private:
  TaylorFunction function_;
};

}  // namespace

Tensor taylor_coordinates(const Context& ctx, const Tensor& points) {
  GHOST_CHECK(points.shape().rank() == 2, "taylor_coordinates: points {}; expected [N, d]",
              points.shape());
  Tensor y = ctx.empty({2 + points.dim(1), points.dim(0), points.dim(1)}, points.dtype());
  dispatch(ctx, [&] { cpu::taylor_coordinates({.points = points, .y = y}); });
  return y;
}

Tensor taylor_activation(Context& ctx, const Tensor& z, const Tensor& bias,
                         TaylorFunction function) {
  GHOST_CHECK(z.shape().rank() == 3 && z.dim(0) >= 3,
              "shape mismatch in taylor_activation: z {}; expected [2 + d, N, C]", z.shape());
  GHOST_CHECK(!bias.defined() || bias.shape() == Shape{z.dim(2)},
              "shape mismatch in taylor_activation: z {} against bias {}; expected bias to be [{}]",
              z.shape(), bias.shape(), z.dim(2));
  return ctx.apply<TaylorActivation>({z, bias}, function);
}

}  // namespace ghost
