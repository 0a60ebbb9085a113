#include "ops/ssd.h"

#include <algorithm>

#include "engine/autograd/pullback.h"
#include "ops/ssd_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::ssd(args); }, [&] { cuda::ssd(ctx, args); });
}

// Scratch of the CPU's kernels; those of a GPU take their own.
bool has_workspace(const Context& ctx) { return !ctx.device().is_cuda(); }

SsdWorkspace make_workspace(const Context& ctx, const SsdInputs& in) {
  const SsdShape& shape = in.config.shape;
  const DType dtype = statistic_dtype(in.xbc.dtype());
  const std::int64_t batch = in.xbc.dim(0);
  const std::int64_t seq_len = in.xbc.dim(1);
  const std::int64_t num_chunks = (seq_len + in.config.chunk - 1) / in.config.chunk;
  return {
      .steps = ctx.empty({batch, shape.heads, seq_len}, dtype),
      .log_decays = ctx.empty({batch, shape.heads, seq_len}, dtype),
      .states = ctx.empty({batch, num_chunks + 1, shape.heads, shape.head_dim, shape.state}, dtype),
      .scratch = ctx.empty({cpu::ssd_scratch(shape, in.config.chunk, in.xbc.dtype())}, dtype)};
}

SsdHeadGradient gradient_of(Pullback& pullback, std::size_t input) {
  if (!pullback.wanted(input)) {
    return {};
  }
  const GradientTarget target = pullback.target(input);
  return {.grad = target.grad, .accumulate = target.accumulate};
}

class Ssd final : public Op {
 public:
  explicit Ssd(const SsdConfig& config) : config_(config) {}

  std::string_view name() const override { return "ssd"; }
  ResidualSpecs residuals() const override {
    return {{"xbc", Role::kAttentionQkv},  {"dt", Role::kStatistic},
            {"a_log", Role::kParameter},   {"d", Role::kParameter},
            {"dt_bias", Role::kParameter}, {"initial_state", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    SsdForward args{
        .in = {.config = config_,
               .xbc = node.input(0),
               .dt = node.input(1),
               .weights = {.a_log = node.input(2), .d = node.input(3), .dt_bias = node.input(4)},
               .initial_state = node.input(5)}};
    const SsdShape& shape = config_.shape;
    const std::int64_t batch = args.in.xbc.dim(0);
    const std::int64_t seq_len = args.in.xbc.dim(1);
    // One token has nothing to share products with.
    args.in.config.chunk = seq_len == 1 ? 0 : std::min(config_.chunk, seq_len);
    if (args.in.config.chunk > 0 && has_workspace(ctx)) {
      args.work = make_workspace(ctx, args.in);
    }
    args.y = ctx.empty({batch, seq_len, shape.inner()}, args.in.xbc.dtype());
    args.final_state =
        ctx.empty({batch, shape.heads, shape.head_dim, shape.state}, node.input(2).dtype());
    launch(ctx, args);
    node.keep("xbc", args.in.xbc);
    node.keep("dt", args.in.dt);
    node.keep("a_log", args.in.weights.a_log);
    node.keep("d", args.in.weights.d);
    node.keep("dt_bias", args.in.weights.dt_bias);
    node.keep("initial_state", args.in.initial_state);
    return {args.y, args.final_state};
  }

  // dy is [P, B, T, H P]; the derivatives stand in ops/cpu/ssd_backward.cpp, phase by phase.
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy(0);
    SsdBackward args{.in = {.config = config_,
                            .xbc = node.residual("xbc"),
                            .dt = node.residual("dt"),
                            .weights = {.a_log = node.residual("a_log"),
                                        .d = node.residual("d"),
                                        .dt_bias = node.residual("dt_bias")},
                            .initial_state = node.residual("initial_state")},
                     .dy = dy,
                     .dfinal_state = pullback.dy(1)};
    const SsdShape& shape = config_.shape;
    const std::int64_t basis = dy.dim(0);
    const std::int64_t batch = dy.dim(1);
    const std::int64_t seq_len = dy.dim(2);
    const std::int64_t chunk = config_.chunk > 0 ? config_.chunk : SsdConfig{}.chunk;
    args.in.config.chunk = std::min(chunk, seq_len);
    const DType precise = statistic_dtype(dy.dtype());
    if (has_workspace(ctx)) {
      args.work = make_workspace(ctx, args.in);
      const std::int64_t num_chunks = args.work.states.dim(1) - 1;
      args.dstates = ctx.empty(
          {basis, batch, num_chunks + 1, shape.heads, shape.head_dim, shape.state}, precise);
      args.dlog_decay = ctx.empty({basis, batch, num_chunks, shape.heads}, precise);
      args.partial = ctx.empty({3, batch * num_chunks, shape.heads}, precise);
    }
    args.dxbc = ctx.empty({basis, batch, seq_len, shape.packed_width()}, dy.dtype());
    args.ddt = ctx.empty({basis, batch, seq_len, shape.heads}, dy.dtype());
    if (pullback.wanted(5)) {
      args.dinitial_state = ctx.empty_like(args.dfinal_state);
    }
    args.da_log = gradient_of(pullback, 2);
    args.dd = gradient_of(pullback, 3);
    args.ddt_bias = gradient_of(pullback, 4);
    launch(ctx, args);
    pullback.give(0, args.dxbc);
    pullback.give(1, args.ddt);
    pullback.give(5, args.dinitial_state);
  }

 private:
  SsdConfig config_;
};

void check_config(const SsdConfig& config) {
  const SsdShape& shape = config.shape;
  GHOST_CHECK(shape.groups > 0 && shape.heads > 0 && shape.heads % shape.groups == 0,
              "ssd: {} heads in {} groups; expected a multiple", shape.heads, shape.groups);
  GHOST_CHECK(config.chunk >= 0, "ssd: chunks of {} tokens; expected 0 or more", config.chunk);
  GHOST_CHECK(config.dt_min >= 0 && config.dt_min <= config.dt_max,
              "ssd: steps between {} and {}; expected 0 <= dt_min <= dt_max", config.dt_min,
              config.dt_max);
}

void check_precision(const Tensor& x, const char* name, const Tensor& xbc) {
  const DType expected = statistic_dtype(xbc.dtype());
  GHOST_CHECK(x.dtype() == expected, "ssd: {} is {}; expected {} where xbc is {}", name,
              dtype_name(x.dtype()), dtype_name(expected), dtype_name(xbc.dtype()));
}

void check_weight(const Tensor& weight, const char* name, const Tensor& xbc,
                  const SsdShape& shape) {
  GHOST_CHECK(weight.shape() == Shape{shape.heads},
              "shape mismatch in ssd: {} {}; expected {} for {} heads", name, weight.shape(),
              Shape{shape.heads}, shape.heads);
  check_precision(weight, name, xbc);
}

}  // namespace

SsdResult ssd(Context& ctx, const Tensor& xbc, const Tensor& dt, const SsdWeights& weights,
              const SsdConfig& config, const Tensor& initial_state) {
  check_config(config);
  const SsdShape& shape = config.shape;
  GHOST_CHECK(xbc.shape().rank() == 3 && xbc.dim(-1) == shape.packed_width(),
              "shape mismatch in ssd: xbc {}; expected [B,T,{}] for {} heads of {} and 2 x {} "
              "groups of {}",
              xbc.shape(), shape.packed_width(), shape.heads, shape.head_dim, shape.groups,
              shape.state);
  const Shape dt_shape = xbc.shape().with_last(shape.heads);
  GHOST_CHECK(dt.shape() == dt_shape, "shape mismatch in ssd: xbc {} against dt {}; expected {}",
              xbc.shape(), dt.shape(), dt_shape);
  GHOST_CHECK(dt.dtype() == xbc.dtype(), "ssd: dt must have the dtype of xbc, {}",
              dtype_name(xbc.dtype()));
  check_weight(weights.a_log, "a_log", xbc, shape);
  if (weights.d.defined()) {
    check_weight(weights.d, "d", xbc, shape);
  }
  if (weights.dt_bias.defined()) {
    check_weight(weights.dt_bias, "dt_bias", xbc, shape);
  }
  const Shape state_shape{xbc.dim(0), shape.heads, shape.head_dim, shape.state};
  GHOST_CHECK(!initial_state.defined() || initial_state.shape() == state_shape,
              "shape mismatch in ssd: initial_state {}; expected {}", initial_state.shape(),
              state_shape);
  if (initial_state.defined()) {
    check_precision(initial_state, "initial_state", xbc);
  }
  Tensors out = ctx.run(std::make_shared<Ssd>(config),
                        {xbc, dt, weights.a_log, weights.d, weights.dt_bias, initial_state});
  return {.y = out[0], .final_state = out[1]};
}

}  // namespace ghost
