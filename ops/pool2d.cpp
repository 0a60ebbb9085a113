#include "ops/pool2d.h"

#include "engine/autograd/pullback.h"
#include "ops/pool2d_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know of a backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(ctx, [&] { cpu::pool2d(args); });
}

class Pool2d final : public Op {
 public:
  explicit Pool2d(Pooling pooling) : pooling_(pooling) {}

  std::string_view name() const override { return "pool2d"; }
  ResidualSpecs residuals() const override {
    return pooling_ == Pooling::kMax ? ResidualSpecs{{"places", Role::kIndex}} : ResidualSpecs{};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const Shape half{x.dim(0), x.dim(1), x.dim(2) / 2, x.dim(3) / 2};
    Pool2dForward args{.pooling = pooling_, .x = x, .y = ctx.empty(half, x.dtype())};
    if (pooling_ == Pooling::kMax) {
      args.places = ctx.empty(half, DType::kI32);
    }
    launch(ctx, args);
    if (pooling_ == Pooling::kMax) {
      node.keep("places", args.places);
    }
    return {args.y};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    Tensor dx = ctx.empty(node.facts(0).shape.with_first(dy.dim(0)), dy.dtype());
    launch(ctx,
           Pool2dBackward{.pooling = pooling_,
                          .places = pooling_ == Pooling::kMax ? node.residual("places") : Tensor{},
                          .dy = dy,
                          .dx = dx});
    pullback.give(0, dx);
  }

 private:
  Pooling pooling_;
};

}  // namespace

Tensor pool2d(Context& ctx, const Tensor& x, Pooling pooling) {
  GHOST_CHECK(x.shape().rank() == 4 && x.dim(2) >= 2 && x.dim(3) >= 2,
              "pool2d: x {}; expected [B, C, H, W] with H and W of 2 at least", x.shape());
  return ctx.apply<Pool2d>({x}, pooling);
}

}  // namespace ghost
