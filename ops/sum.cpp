#include "ops/sum.h"

#include "engine/autograd/pullback.h"
#include "ops/partial_sums.h"
#include "ops/sum_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::sum(args); }, [&] { cuda::sum(args); });
}

class Sum final : public Op {
 public:
  explicit Sum(double factor) : factor_(factor) {}

  std::string_view name() const override { return "sum"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty({1}, statistic_dtype(x.dtype()));
    launch(ctx, SumForward{.x = x,
                           .y = y,
                           .factor = factor_,
                           .partial = partial_sums(ctx, x.numel() / 256, 1, DType::kF64)});
    return {y};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const TensorFacts& x = node.facts(0);
    Tensor dx = ctx.empty(x.shape.with_first(dy.dim(0)), x.dtype);
    launch(ctx, SumBackward{.dy = dy, .dx = dx, .factor = factor_});
    pullback.give(0, dx);
  }

 private:
  double factor_;
};

}  // namespace

Tensor sum(Context& ctx, const Tensor& x) { return ctx.apply<Sum>({x}, 1.0); }

Tensor mean(Context& ctx, const Tensor& x) {
  return ctx.apply<Sum>({x}, 1.0 / static_cast<double>(x.numel()));
}

}  // namespace ghost
