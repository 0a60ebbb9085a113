#include "ops/gated_rms_norm.h"

#include "engine/autograd/pullback.h"
#include "ops/gated_rms_norm_kernels.h"
#include "ops/partial_sums.h"

namespace ghost {
namespace {

template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::gated_rms_norm(args); }, [&] { cuda::gated_rms_norm(args); });
}

class GatedRmsNorm final : public Op {
 public:
  explicit GatedRmsNorm(const GatedRmsNormConfig& config) : config_(config) {}

  std::string_view name() const override { return "gated_rms_norm"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kNormInput},
            {"z", Role::kActivationInput},
            {"gain", Role::kParameter},
            {"rstd", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    Tensor rstd =
        ctx.empty(x.shape().with_last(x.dim(-1) / config_.group_size), statistic_dtype(x.dtype()));
    launch(ctx, GatedRmsNormForward{.order = config_.order,
                                    .x = x,
                                    .z = node.input(1),
                                    .gain = node.input(2),
                                    .y = y,
                                    .rstd = rstd,
                                    .eps = config_.eps});
    node.keep("x", x);
    node.keep("z", node.input(1));
    node.keep("gain", node.input(2));
    node.keep("rstd", rstd);
    return {y};
  }

  // dy is [P, ..., C], means are over groups, f = silu.
  // Gate then norm, with u = x * f(z), q = dy * gain and du = rstd * (q - u * rstd^2 * mean(q u)):
  //   dx = du * f(z),   dz = du * x * f'(z),   dgain = sum dy * u * rstd
  // Norm then gate, with n = x * rstd and q = dy * gain * f(z):
  //   dx = rstd * (q - n * mean(q n)),   dz = dy * gain * n * f'(z),   dgain = sum dy * n * f(z)
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    GatedRmsNormBackward args{.order = config_.order,
                              .x = node.residual("x"),
                              .z = node.residual("z"),
                              .gain = node.residual("gain"),
                              .rstd = node.residual("rstd"),
                              .dy = dy};
    if (pullback.wanted(0)) {
      args.dx = ctx.empty_like(dy);
    }
    if (args.z.defined() && pullback.wanted(1)) {
      args.dz = ctx.empty_like(dy);
    }
    if (pullback.wanted(2)) {
      const GradientTarget target = pullback.target(2);
      args.dgain = target.grad;
      args.accumulate_dgain = target.accumulate;
      args.dgain_partial = partial_sums(ctx, dy.numel() / dy.dim(-1), dy.dim(-1));
    }
    launch(ctx, args);
    pullback.give(0, args.dx);
    pullback.give(1, args.dz);
  }

  bool is_cheap() const override { return true; }

  Tensor recompute(Context& ctx, const Node& node) const override {
    const Tensor x = node.residual("x");
    Tensor y = ctx.empty_like(x);
    launch(ctx, GatedRmsNormApply{.order = config_.order,
                                  .x = x,
                                  .z = node.residual("z"),
                                  .gain = node.residual("gain"),
                                  .rstd = node.residual("rstd"),
                                  .y = y});
    return y;
  }

 private:
  GatedRmsNormConfig config_;
};

}  // namespace

Tensor gated_rms_norm(Context& ctx, const Tensor& x, const Tensor& z, const Tensor& gain,
                      const GatedRmsNormConfig& config) {
  GHOST_CHECK(config.eps > 0, "gated_rms_norm: eps is {}; expected a positive number", config.eps);
  const std::int64_t channels = x.dim(-1);
  GatedRmsNormConfig full = config;
  full.group_size = config.group_size == 0 ? channels : config.group_size;
  GHOST_CHECK(full.group_size > 0 && channels % full.group_size == 0,
              "gated_rms_norm: groups of {} channels; expected a divisor of {}", config.group_size,
              channels);
  GHOST_CHECK(!z.defined() || z.shape() == x.shape(),
              "shape mismatch in gated_rms_norm: x {} against z {}; expected one shape", x.shape(),
              z.shape());
  GHOST_CHECK(gain.shape() == Shape{channels},
              "shape mismatch in gated_rms_norm: x {} against gain {}; expected gain to be {}",
              x.shape(), gain.shape(), Shape{channels});
  GHOST_CHECK((!z.defined() || z.dtype() == x.dtype()) && gain.dtype() == x.dtype(),
              "gated_rms_norm: z and gain must have the dtype of x, {}", dtype_name(x.dtype()));
  return ctx.apply<GatedRmsNorm>({x, z, gain}, full);
}

}  // namespace ghost
