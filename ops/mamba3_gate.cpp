#include "ops/mamba3_gate.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/mamba3_gate_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::mamba3_gate(args); }, [&] { cuda::mamba3_gate(args); });
}

class Mamba3Gate final : public Op {
 public:
  std::string_view name() const override { return "mamba3_gate"; }
  ResidualSpecs residuals() const override {
    return {{"o", Role::kActivationInput},
            {"z", Role::kActivationInput},
            {"mimo_z", Role::kParameter},
            {"mimo_o", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    node.keep("o", node.input(0));
    node.keep("z", node.input(1));
    node.keep("mimo_z", node.input(2));
    node.keep("mimo_o", node.input(3));
    return {value(ctx, node.input(0), node.input(1), node.input(2), node.input(3))};
  }

  // With u_r = z mimo_z_r and silu'(u) = s (1 + u (1 - s)), s = sigmoid(u):
  //   do_r = dy mimo_o_r silu(u_r),   dz = sum over r of dy mimo_o_r o_r silu'(u_r) mimo_z_r
  //   dmimo_o_r = sum dy o_r silu(u_r),   dmimo_z_r = sum dy mimo_o_r o_r silu'(u_r) z
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    Mamba3GateBackward args{.o = node.residual("o"),
                            .z = node.residual("z"),
                            .mimo_z = node.residual("mimo_z"),
                            .mimo_o = node.residual("mimo_o"),
                            .dy = dy};
    if (pullback.wanted(0)) {
      args.dout = ctx.empty(args.o.shape().with_first(dy.dim(0)), dy.dtype());
    }
    if (pullback.wanted(1)) {
      args.dz = ctx.empty_like(dy);
    }
    args.dmimo_z = weight_gradient(pullback, 2, args.mimo_z);
    args.dmimo_o = weight_gradient(pullback, 3, args.mimo_o);
    const std::int64_t tokens = args.o.dim(0) * args.o.dim(1);
    if (args.dmimo_z.defined()) {
      args.dmimo_z_partial = partial_sums(ctx, tokens, args.dmimo_z.numel());
    }
    if (args.dmimo_o.defined()) {
      args.dmimo_o_partial = partial_sums(ctx, tokens, args.dmimo_o.numel());
    }
    launch(ctx, args);
    pullback.give(0, args.dout);
    pullback.give(1, args.dz);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    return value(ctx, node.residual("o"), node.residual("z"), node.residual("mimo_z"),
                 node.residual("mimo_o"));
  }

 private:
  static Tensor value(Context& ctx, const Tensor& o, const Tensor& z, const Tensor& mimo_z,
                      const Tensor& mimo_o) {
    Tensor y = ctx.empty_like(z);
    launch(ctx, Mamba3GateForward{.o = o, .z = z, .mimo_z = mimo_z, .mimo_o = mimo_o, .y = y});
    return y;
  }

  // To be added to.
  static Tensor weight_gradient(Pullback& pullback, std::size_t i, const Tensor& weight) {
    if (!weight.defined() || !pullback.wanted(i)) {
      return {};
    }
    const GradientTarget target = pullback.target(i);
    if (!target.accumulate) {
      fill_zero(target.grad);
    }
    return target.grad;
  }
};

}  // namespace

Tensor mamba3_gate(Context& ctx, const Tensor& o, const Tensor& z, const Tensor& mimo_z,
                   const Tensor& mimo_o) {
  GHOST_CHECK(o.shape().rank() == 5, "shape mismatch in mamba3_gate: o {}; expected [B,T,R,H,P]",
              o.shape());
  const Shape value{o.dim(0), o.dim(1), o.dim(3), o.dim(4)};
  GHOST_CHECK(z.shape() == value,
              "shape mismatch in mamba3_gate: z {} against o {}; expected z to be {}", z.shape(),
              o.shape(), value);
  GHOST_CHECK(z.dtype() == o.dtype(), "mamba3_gate: z is {}; expected the dtype of o, {}",
              dtype_name(z.dtype()), dtype_name(o.dtype()));
  const Shape scale{o.dim(3), o.dim(2), o.dim(4)};
  for (const Tensor* weight : {&mimo_z, &mimo_o}) {
    const std::string_view name = weight == &mimo_z ? "mimo_z" : "mimo_o";
    if (weight->defined()) {
      GHOST_CHECK(weight->shape() == scale,
                  "shape mismatch in mamba3_gate: {} {} against o {}; expected {}", name,
                  weight->shape(), o.shape(), scale);
      GHOST_CHECK(weight->dtype() == o.dtype(),
                  "mamba3_gate: {} is {}; expected the dtype of o, {}", name,
                  dtype_name(weight->dtype()), dtype_name(o.dtype()));
    }
  }
  return ctx.apply<Mamba3Gate>({o, z, mimo_z, mimo_o});
}

}  // namespace ghost
