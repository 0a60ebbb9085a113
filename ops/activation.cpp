#include "ops/activation.h"

#include "engine/autograd/pullback.h"
#include "ops/activation_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::activation(args); }, [&] { cuda::activation(args); });
}

/// y = f(x) element by element; f' is computed from x.
class Activation final : public Op {
 public:
  explicit Activation(ActivationKind kind) : kind_(kind) {}

  std::string_view name() const override {
    switch (kind_) {
      case ActivationKind::kGeluErf:
      case ActivationKind::kGeluTanh:
        return "gelu";
      case ActivationKind::kSilu:
        return "silu";
      case ActivationKind::kTanh:
        return "tanh";
      case ActivationKind::kRelu:
        return "relu";
    }
    return {};
  }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kActivationInput, /*may_be_derivative=*/true}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    ActivationForward args{.kind = kind_, .x = x, .y = y};
    if (is_derivative(node.planned_keep("x", x))) {
      args.derivative = ctx.empty_like(x);
    }
    launch(ctx, args);
    node.keep("x", args.derivative.defined() ? args.derivative : x);
    return {y};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    Tensor dx = ctx.empty_like(dy);
    if (is_derivative(node.kept_as("x"))) {
      launch(ctx,
             ActivationDerivativeBackward{.derivative = node.residual("x"), .dy = dy, .dx = dx});
    } else {
      launch(ctx, ActivationBackward{.kind = kind_, .x = node.residual("x"), .dy = dy, .dx = dx});
    }
    pullback.give(0, dx);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    const Tensor x = node.residual("x");
    Tensor y = ctx.empty_like(x);
    launch(ctx, ActivationForward{.kind = kind_, .x = x, .y = y});
    return y;
  }

 private:
  ActivationKind kind_;
};

}  // namespace

Tensor gelu(Context& ctx, const Tensor& x, GeluForm form) {
  return ctx.apply<Activation>(
      {x}, form == GeluForm::kErf ? ActivationKind::kGeluErf : ActivationKind::kGeluTanh);
}

Tensor silu(Context& ctx, const Tensor& x) {
  return ctx.apply<Activation>({x}, ActivationKind::kSilu);
}

Tensor tanh(Context& ctx, const Tensor& x) {
  return ctx.apply<Activation>({x}, ActivationKind::kTanh);
}

Tensor relu(Context& ctx, const Tensor& x) {
  return ctx.apply<Activation>({x}, ActivationKind::kRelu);
}

}  // namespace ghost
