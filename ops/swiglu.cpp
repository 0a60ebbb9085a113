#include "ops/swiglu.h"

#include "engine/autograd/pullback.h"
#include "ops/swiglu_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::swiglu(args); }, [&] { cuda::swiglu(args); });
}

class Swiglu final : public Op {
 public:
  std::string_view name() const override { return "swiglu"; }
  ResidualSpecs residuals() const override { return {{"x", Role::kActivationInput}}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    node.keep("x", x);
    return {value(ctx, x)};
  }

  // dy is [P, ..., H]. With s = 1 / (1 + exp(-gate)):
  //   dgate = dy * up * s * (1 + gate * (1 - s)),   dup = dy * gate * s
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Tensor x = node.residual("x");
    Tensor dx = ctx.empty(x.shape().with_first(dy.dim(0)), dy.dtype());
    launch(ctx, SwigluBackward{.x = x, .dy = dy, .dx = dx});
    pullback.give(0, dx);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    return value(ctx, node.residual("x"));
  }

 private:
  static Tensor value(Context& ctx, const Tensor& x) {
    Tensor y = ctx.empty(x.shape().with_last(x.dim(-1) / 2), x.dtype());
    launch(ctx, SwigluForward{.x = x, .y = y});
    return y;
  }
};

}  // namespace

Tensor swiglu(Context& ctx, const Tensor& x) {
  GHOST_CHECK(x.dim(-1) % 2 == 0,
              "swiglu: x is {}; expected the last dimension to be even, [gate | up]", x.shape());
  return ctx.apply<Swiglu>({x});
}

}  // namespace ghost
