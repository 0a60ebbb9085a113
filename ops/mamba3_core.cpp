#include "ops/mamba3_core.h"

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/mamba3_core_kernels.h"

namespace ghost {
namespace {

// Inputs as ops and tapes know them: one list.
constexpr std::size_t kNumInputs = 15;
constexpr std::string_view kNames[kNumInputs] = {
    "q",           "k",         "v",        "a", "dt",     "trap",
    "angle",       "q_bias",    "k_bias",   "d", "mimo_x", "initial angle",
    "initial ssm", "initial k", "initial v"};
constexpr std::size_t kFirstWeight = 7;
constexpr std::size_t kFirstState = 11;

template <typename Input>
auto fields(Input& in) {
  return std::array{&in.q,           &in.k,         &in.v,        &in.a,
                    &in.dt,          &in.trap,      &in.angle,    &in.q_bias,
                    &in.k_bias,      &in.d,         &in.mimo_x,   &in.initial.angle,
                    &in.initial.ssm, &in.initial.k, &in.initial.v};
}

// Steps, decays, what steers the state and the states themselves are never bf16.
bool is_precise(std::size_t i) {
  return kNames[i] == "a" || kNames[i] == "dt" || kNames[i] == "q_bias" || kNames[i] == "k_bias" ||
         kNames[i] == "d" || i >= kFirstState;
}
DType dtype_of(std::size_t i, DType of_v) { return is_precise(i) ? statistic_dtype(of_v) : of_v; }

bool is_weight(std::size_t i) { return i >= kFirstWeight && i < kFirstState; }

// q and k come from norms and can be made again; v is a projection as it is.
Role role_of(std::size_t i) {
  if (i < 3) {
    return i < 2 ? Role::kAttentionQkv : Role::kActivationInput;
  }
  return is_weight(i) ? Role::kParameter : Role::kStatistic;
}

Mamba3Size size_of(const Mamba3CoreInput& in, std::int64_t chunk) {
  const std::int64_t ranks = in.q.dim(2);
  return {.batch = in.q.dim(0),
          .seq_len = in.q.dim(1),
          .ranks = ranks,
          .groups = in.q.dim(3),
          .heads = in.v.dim(2),
          .head_dim = in.v.dim(3),
          .state = in.q.dim(4),
          .angles = in.angle.dim(2),
          .chunk = chunk > 0 ? chunk : std::max<std::int64_t>(1, 64 / ranks)};
}

// Shapes by the order of the inputs.
std::array<Shape, kNumInputs> shapes_of(const Mamba3Size& n) {
  const Shape qk{n.batch, n.seq_len, n.ranks, n.groups, n.state};
  const Shape scalar{n.batch, n.seq_len, n.heads};
  const Shape bias{n.heads, n.ranks, n.state};
  return {qk,
          qk,
          Shape{n.batch, n.seq_len, n.heads, n.head_dim},
          scalar,
          scalar,
          scalar,
          Shape{n.batch, n.seq_len, n.angles},
          bias,
          bias,
          Shape{n.heads},
          Shape{n.heads, n.ranks, n.head_dim},
          Shape{n.batch, n.heads, n.angles},
          Shape{n.batch, n.heads, n.head_dim, n.state},
          Shape{n.batch, n.ranks, n.heads, n.state},
          Shape{n.batch, n.heads, n.head_dim}};
}

// The only lines of this op that know there is more than one backend.
void launch(const Context& ctx, const Mamba3CoreForward& args) {
  dispatch(
      ctx,
      [&] { args.size.seq_len == 1 ? cpu::mamba3_core_recurrence(args) : cpu::mamba3_core(args); },
      [&] { cuda::mamba3_core(ctx, args); });
}
void launch(const Context& ctx, const Mamba3CoreBackward& args) {
  dispatch(
      ctx, [&] { cpu::mamba3_core(args); }, [&] { cuda::mamba3_core(ctx, args); });
}

// Scratch of the CPU's kernels; those of a GPU take their own.
Tensor workspace_for(const Context& ctx, std::int64_t elements, DType dtype) {
  return ctx.device().is_cuda() ? Tensor{} : ctx.empty({elements}, dtype);
}

class Mamba3Core final : public Op {
 public:
  explicit Mamba3Core(const Mamba3CoreOptions& options) : options_(options) {}

  std::string_view name() const override { return "mamba3_core"; }
  ResidualSpecs residuals() const override {
    ResidualSpecs specs;
    for (std::size_t i = 0; i < kNumInputs; ++i) {
      specs.push_back({kNames[i], role_of(i)});
    }
    return specs;
  }

  Tensors forward(Context& ctx, Node& node) const override {
    Mamba3CoreInput in;
    const auto inputs = fields(in);
    for (std::size_t i = 0; i < kNumInputs; ++i) {
      *inputs[i] = node.input(i);
      node.keep(kNames[i], node.input(i));
    }
    const Mamba3Size n = size_of(in, options_.chunk);
    const DType dtype = in.v.dtype();
    const DType of_state = statistic_dtype(dtype);
    const auto shapes = shapes_of(n);
    const Tensor o = ctx.empty({n.batch, n.seq_len, n.ranks, n.heads, n.head_dim}, dtype);
    const Mamba3State state{.angle = ctx.empty(shapes[kFirstState], of_state),
                            .ssm = ctx.empty(shapes[kFirstState + 1], of_state),
                            .k = ctx.empty(shapes[kFirstState + 2], of_state),
                            .v = ctx.empty(shapes[kFirstState + 3], of_state)};
    launch(ctx, Mamba3CoreForward{.in = in,
                                  .o = o,
                                  .state = state,
                                  .workspace = workspace_for(
                                      ctx, cpu::mamba3_core_forward_workspace(n), of_state),
                                  .size = n,
                                  .pairing = options_.pairing});
    return {o, state.angle, state.ssm, state.k, state.v};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    Mamba3CoreBackward args{.dout = pullback.dy(),
                            .dstate = {.angle = pullback.dy(1),
                                       .ssm = pullback.dy(2),
                                       .k = pullback.dy(3),
                                       .v = pullback.dy(4)},
                            .pairing = options_.pairing};
    const std::int64_t basis = args.dout.dim(0);
    const auto inputs = fields(args.in);
    const auto grads = fields(args.grad);
    for (std::size_t i = 0; i < kNumInputs; ++i) {
      *inputs[i] = node.residual(kNames[i]);
      if (inputs[i]->defined() && pullback.wanted(i)) {
        *grads[i] = is_weight(i)
                        ? weight_gradient(pullback, i)
                        : ctx.empty(inputs[i]->shape().with_first(basis), inputs[i]->dtype());
      }
    }
    args.size = size_of(args.in, options_.chunk);
    args.workspace = workspace_for(ctx, cpu::mamba3_core_backward_workspace(args.size, basis),
                                   statistic_dtype(args.in.v.dtype()));
    launch(ctx, args);
    for (std::size_t i = 0; i < kNumInputs; ++i) {
      if (!is_weight(i)) {
        pullback.give(i, *grads[i]);
      }
    }
  }

 private:
  // To be added to.
  static Tensor weight_gradient(Pullback& pullback, std::size_t i) {
    const GradientTarget target = pullback.target(i);
    if (!target.accumulate) {
      fill_zero(target.grad);
    }
    return target.grad;
  }

  Mamba3CoreOptions options_;
};

void check(const Mamba3CoreInput& in, const Mamba3CoreOptions& options) {
  GHOST_CHECK(in.q.shape().rank() == 5, "shape mismatch in mamba3_core: q {}; expected [B,T,R,G,N]",
              in.q.shape());
  GHOST_CHECK(in.v.shape().rank() == 4, "shape mismatch in mamba3_core: v {}; expected [B,T,H,P]",
              in.v.shape());
  GHOST_CHECK(in.angle.shape().rank() == 3,
              "shape mismatch in mamba3_core: angle {}; expected [B,T,S]", in.angle.shape());
  const Mamba3Size n = size_of(in, options.chunk);
  GHOST_CHECK(n.heads % n.groups == 0, "mamba3_core: {} heads over {} groups; expected a multiple",
              n.heads, n.groups);
  GHOST_CHECK(2 * n.angles <= n.state,
              "mamba3_core: {} angles turn pairs of a state of {}; expected at most half as many",
              n.angles, n.state);
  GHOST_CHECK(options.pairing == RotaryPairing::kAdjacent || n.state % 2 == 0,
              "mamba3_core: a state of {} has no halves to pair; expected an even size", n.state);
  GHOST_CHECK(options.chunk >= 0, "mamba3_core: chunks of {} tokens; expected 0 or more",
              options.chunk);
  const Mamba3State& initial = in.initial;
  GHOST_CHECK(initial.angle.defined() == initial.ssm.defined() &&
                  initial.k.defined() == initial.ssm.defined() &&
                  initial.v.defined() == initial.ssm.defined(),
              "mamba3_core: an initial state is given in part; expected angle, ssm, k and v");
  const auto inputs = fields(in);
  const auto shapes = shapes_of(n);
  for (std::size_t i = 0; i < kNumInputs; ++i) {
    const Tensor& x = *inputs[i];
    if (!x.defined() && i >= kFirstState - 1) {
      continue;  // mimo_x and the states may be absent
    }
    GHOST_CHECK(x.shape() == shapes[i],
                "shape mismatch in mamba3_core: {} {} against q {} and v {}; expected {}",
                kNames[i], x.shape(), in.q.shape(), in.v.shape(), shapes[i]);
    const DType expected = dtype_of(i, in.v.dtype());
    GHOST_CHECK(x.dtype() == expected, "mamba3_core: {} is {}; expected {} where v is {}",
                kNames[i], dtype_name(x.dtype()), dtype_name(expected), dtype_name(in.v.dtype()));
  }
}

}  // namespace

Mamba3CoreOutput mamba3_core(Context& ctx, const Mamba3CoreInput& input,
                             const Mamba3CoreOptions& options) {
  check(input, options);
  Tensors inputs;
  for (const Tensor* tensor : fields(input)) {
    inputs.push_back(*tensor);
  }
  Tensors out = ctx.run(std::make_shared<Mamba3Core>(options), std::move(inputs));
  return {.o = out[0], .state = {.angle = out[1], .ssm = out[2], .k = out[3], .v = out[4]}};
}

}  // namespace ghost
