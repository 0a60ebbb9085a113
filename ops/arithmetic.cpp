#include "ops/arithmetic.h"

#include "engine/autograd/pullback.h"
#include "ops/arithmetic_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::arithmetic(args); }, [&] { cuda::arithmetic(args); });
}

class AddOp final : public Op {
 public:
  std::string_view name() const override { return "add"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    Tensor y = ctx.empty_like(node.input(0));
    if (ctx.needs_outputs()) {
      launch(ctx, Add{.a = node.input(0), .b = node.input(1), .y = y});
    }
    return {y};
  }

  void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    pullback.give(0, dy);
    pullback.give(1, dy);
  }
};

class MulScalarOp final : public Op {
 public:
  explicit MulScalarOp(double factor) : factor_(factor) {}

  std::string_view name() const override { return "mul_scalar"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    return {multiplied(ctx, node.input(0))};
  }

  void backward(Context& ctx, const Node& /*node*/, Pullback& pullback) const override {
    pullback.give(0, multiplied(ctx, pullback.dy()));
  }

 private:
  Tensor multiplied(Context& ctx, const Tensor& x) const {
    Tensor y = ctx.empty_like(x);
    launch(ctx, MulScalar{.x = x, .y = y, .factor = factor_});
    return y;
  }

  double factor_;
};

}  // namespace

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  GHOST_CHECK(a.shape() == b.shape(),
              "shape mismatch in add: a {} against b {}; expected one shape", a.shape(), b.shape());
  GHOST_CHECK(a.dtype() == b.dtype(),
              "dtype mismatch in add: a {} against b {}; expected one dtype", dtype_name(a.dtype()),
              dtype_name(b.dtype()));
  return ctx.apply<AddOp>({a, b});
}

Tensor mul_scalar(Context& ctx, const Tensor& x, double factor) {
  return ctx.apply<MulScalarOp>({x}, factor);
}

}  // namespace ghost
