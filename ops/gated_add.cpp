#include "ops/gated_add.h"

#include "engine/autograd/pullback.h"
#include "ops/gated_add_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::gated_add(args); }, [&] { cuda::gated_add(args); });
}

class GatedAdd final : public Op {
 public:
  std::string_view name() const override { return "gated_add"; }
  ResidualSpecs residuals() const override {
    return {{"change", Role::kStatistic}, {"gate", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    Tensor y = ctx.empty_like(node.input(0));
    launch(ctx, GatedAddForward{
                    .x = node.input(0), .change = node.input(1), .gate = node.input(2), .y = y});
    node.keep("change", node.input(1));
    node.keep("gate", node.input(2));
    return {y};
  }

  // dx = dy, dchange = tanh(gate) dy, dgate = (1 - tanh(gate)^2) sum of dy * change
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    GatedAddBackward args{
        .change = node.residual("change"), .gate = node.residual("gate"), .dy = dy};
    if (pullback.wanted(1)) {
      args.dchange = ctx.empty_like(dy);
    }
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      args.dgate = target.grad;
      args.accumulate = target.accumulate;
      args.partial = partial_sums(ctx, dy.numel() / 256, 1, DType::kF64);
    }
    launch(ctx, args);
    pullback.give(0, dy);
    pullback.give(1, args.dchange);
  }
};

}  // namespace

Tensor gated_add(Context& ctx, const Tensor& x, const Tensor& change, const Tensor& gate) {
  GHOST_CHECK(x.shape() == change.shape() && gate.numel() == 1,
              "shape mismatch in gated_add: x {}, change {}, gate {}; expected one shape and a "
              "gate of [1]",
              x.shape(), change.shape(), gate.shape());
  GHOST_CHECK(x.dtype() == change.dtype() && x.dtype() == gate.dtype(),
              "dtype mismatch in gated_add: x {}, change {}, gate {}; expected one dtype",
              dtype_name(x.dtype()), dtype_name(change.dtype()), dtype_name(gate.dtype()));
  return ctx.apply<GatedAdd>({x, change, gate});
}

}  // namespace ghost
