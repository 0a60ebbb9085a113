#include "ops/mamba3_decay.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/mamba3_decay_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::mamba3_decay(args); }, [&] { cuda::mamba3_decay(args); });
}

class Mamba3DecayOp final : public Op {
 public:
  explicit Mamba3DecayOp(const Mamba3DecayOptions& options) : options_(options) {}

  std::string_view name() const override { return "mamba3_decay"; }
  ResidualSpecs residuals() const override {
    return {{"dd_dt", Role::kStatistic}, {"dd_a", Role::kStatistic}, {"dt_bias", Role::kParameter}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& dd_dt = node.input(0);
    Tensor dt = ctx.empty(dd_dt.shape(), statistic_dtype(dd_dt.dtype()));
    Tensor a = ctx.empty_like(dt);
    launch(ctx, Mamba3DecayForward{.dd_dt = dd_dt,
                                   .dd_a = node.input(1),
                                   .dt_bias = node.input(2),
                                   .dt = dt,
                                   .a = a,
                                   .options = options_});
    node.keep("dd_dt", dd_dt);
    node.keep("dd_a", node.input(1));
    node.keep("dt_bias", node.input(2));
    return {dt, a};
  }

  // With A = -max(f, floor) and the cotangents ddt and da of both outputs:
  //   d(dd_a) = -dt da f'(dd_a) where f >= floor, else 0
  //   d(dd_dt) = (ddt + A da) sigmoid(dd_dt + dt_bias),   d(dt_bias) = sum of d(dd_dt)
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    Mamba3DecayBackward args{.dd_dt = node.residual("dd_dt"),
                             .dd_a = node.residual("dd_a"),
                             .dt_bias = node.residual("dt_bias"),
                             .grad_dt = pullback.dy(0),
                             .grad_a = pullback.dy(1),
                             .options = options_};
    // A GPU adds up the bias's from those of dd_dt.
    const Shape& shape = args.grad_dt.shape();
    if (pullback.wanted(0) || (pullback.wanted(2) && ctx.device().is_cuda())) {
      args.grad_dd_dt = ctx.empty(shape, args.dd_dt.dtype());
    }
    if (pullback.wanted(1)) {
      args.grad_dd_a = ctx.empty(shape, args.dd_dt.dtype());
    }
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      if (!target.accumulate) {
        fill_zero(target.grad);
      }
      args.grad_dt_bias = target.grad;
      args.bias_partial =
          partial_sums(ctx, args.dd_dt.numel() / target.grad.numel(), target.grad.numel());
    }
    launch(ctx, args);
    pullback.give(0, args.grad_dd_dt);
    pullback.give(1, args.grad_dd_a);
  }

 private:
  Mamba3DecayOptions options_;
};

}  // namespace

Mamba3Decay mamba3_decay(Context& ctx, const Tensor& dd_dt, const Tensor& dd_a,
                         const Tensor& dt_bias, const Mamba3DecayOptions& options) {
  GHOST_CHECK(options.floor >= 0, "mamba3_decay: floor is {}; expected 0 or more", options.floor);
  GHOST_CHECK(dd_a.shape() == dd_dt.shape(),
              "shape mismatch in mamba3_decay: dd_a {} against dd_dt {}; expected the same",
              dd_a.shape(), dd_dt.shape());
  const Shape bias{dd_dt.dim(-1)};
  GHOST_CHECK(dt_bias.shape() == bias,
              "shape mismatch in mamba3_decay: dt_bias {} against dd_dt {}; expected {}",
              dt_bias.shape(), dd_dt.shape(), bias);
  GHOST_CHECK(dd_a.dtype() == dd_dt.dtype(),
              "mamba3_decay: dd_a is {}; expected the dtype of dd_dt, {}", dtype_name(dd_a.dtype()),
              dtype_name(dd_dt.dtype()));
  const DType precise = statistic_dtype(dd_dt.dtype());
  GHOST_CHECK(dt_bias.dtype() == precise,
              "mamba3_decay: dt_bias is {}; expected {} where dd_dt is {}",
              dtype_name(dt_bias.dtype()), dtype_name(precise), dtype_name(dd_dt.dtype()));
  const Tensors out = ctx.run(std::make_shared<Mamba3DecayOp>(options), {dd_dt, dd_a, dt_bias});
  return {.dt = out[0], .a = out[1]};
}

}  // namespace ghost
