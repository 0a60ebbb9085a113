#include "ops/arithmetic.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/arithmetic_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::arithmetic(args); }, [&] { cuda::arithmetic(args); });
}

Tensor converted(const Context& ctx, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) {
    return x;
  }
  Tensor y = ctx.empty(x.shape(), dtype);
  cast(y, x);
  return y;
}

class AddOp final : public Op {
 public:
  std::string_view name() const override { return "add"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& a = node.input(0);
    const Tensor& b = node.input(1);
    Tensor y = ctx.empty_like(a);
    if (ctx.needs_outputs() && a.dtype() == b.dtype()) {
      launch(ctx, Add{.a = a, .b = b, .y = y});
    } else if (ctx.needs_outputs()) {
      cast(y, b);
      accumulate(y, a);
    }
    return {y};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    pullback.give(0, dy);
    if (pullback.wanted(1)) {
      pullback.give(1, converted(ctx, dy, node.facts(1).dtype));
    }
  }
};

class ToDType final : public Op {
 public:
  explicit ToDType(DType dtype) : dtype_(dtype) {}

  std::string_view name() const override { return "to_dtype"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    return {converted(ctx, node.input(0), dtype_)};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    pullback.give(0, converted(ctx, pullback.dy(), node.facts(0).dtype));
  }

 private:
  DType dtype_;
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
  GHOST_CHECK(a.dtype() == b.dtype() || a.dtype() == statistic_dtype(b.dtype()),
              "dtype mismatch in add: a {} against b {}; expected one dtype", dtype_name(a.dtype()),
              dtype_name(b.dtype()));
  return ctx.apply<AddOp>({a, b});
}

Tensor mul_scalar(Context& ctx, const Tensor& x, double factor) {
  return ctx.apply<MulScalarOp>({x}, factor);
}

Tensor to_dtype(Context& ctx, const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x : ctx.apply<ToDType>({x}, dtype);
}

}  // namespace ghost
