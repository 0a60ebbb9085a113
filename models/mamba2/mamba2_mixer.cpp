#include "models/mamba2/mamba2_mixer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "models/module.h"
#include "ops/causal_conv1d.h"
#include "ops/gated_rms_norm.h"
#include "ops/linear.h"
#include "ops/split.h"

namespace ghost {
namespace {

struct Mamba2State final : BlockState {
  Tensor conv;  // [B, K-1, H P + 2 G N], what the convolution read last; undefined at the start
  Tensor ssm;   // [B, H, P, N]
};

SsdConfig core_config(const Mamba2Config& config, std::int64_t channels) {
  SsdConfig core{.shape = {.heads = config.inner(channels) / config.head_dim,
                           .head_dim = config.head_dim,
                           .groups = config.groups,
                           .state = config.state},
                 .chunk = config.chunk};
  if (!config.dt_limit.empty()) {
    core.dt_min = config.dt_limit[0];
    core.dt_max = config.dt_limit[1];
  }
  return core;
}

}  // namespace

Mamba2Mixer::Mamba2Mixer(const Mamba2Config& config, std::int64_t channels, double norm_eps,
                         ModuleParameters parameters)
    : config_(config),
      core_(core_config(config, channels)),
      norm_group_(config.norm_group_size(channels)),
      norm_eps_(norm_eps) {
  const SsdShape& shape = core_.shape;
  const std::int64_t packed = shape.packed_width();
  in_proj_ = parameters.linear("in_proj.weight", shape.inner() + packed + shape.heads, channels);
  const Init taps = uniform_init(1 / std::sqrt(static_cast<double>(config.conv)));
  conv_weight_ = parameters.weight("conv1d.weight", {packed, 1, config.conv}, taps);
  conv_bias_ = parameters.undecayed("conv1d.bias", {packed}, taps);
  dt_bias_ = parameters.steering(
      "dt_bias", {shape.heads},
      {.kind = InitKind::kInverseSoftplus, .low = config.dt_min, .high = config.dt_max});
  a_log_ = parameters.steering("A_log", {shape.heads},
                               {.kind = InitKind::kLogOfUniform, .low = 1, .high = 16});
  d_ = parameters.steering("D", {shape.heads}, {.kind = InitKind::kOnes});
  norm_ = parameters.gain("norm.weight", shape.inner());
}

Tensor Mamba2Mixer::mix(Context& ctx, const Tensor& x, BlockState* state) const {
  auto* past = dynamic_cast<Mamba2State*>(state);
  const SsdShape& shape = core_.shape;
  const std::array<std::int64_t, 3> widths{shape.inner(), shape.packed_width(), shape.heads};
  const Tensors parts = in_module(
      ctx, "in_proj", [&] { return split(ctx, linear(ctx, x, ctx.use(*in_proj_), {}), widths); });
  const Tensor& z = parts[0];
  const Tensor& xbc = parts[1];
  const Tensor& dt = parts[2];
  const Tensor convolved = in_module(ctx, "conv1d", [&] {
    return causal_conv1d(ctx, xbc, ctx.use(*conv_weight_), ctx.use(*conv_bias_),
                         ConvActivation::kSilu, past == nullptr ? Tensor{} : past->conv);
  });
  const SsdResult core = in_module(ctx, "core", [&] {
    return ssd(ctx, convolved, dt,
               {.a_log = ctx.use(*a_log_), .d = ctx.use(*d_), .dt_bias = ctx.use(*dt_bias_)}, core_,
               past == nullptr ? Tensor{} : past->ssm);
  });
  if (past != nullptr) {
    past->conv = causal_conv1d_state(ctx, xbc, config_.conv, past->conv);
    past->ssm = core.final_state;
  }
  return in_module(ctx, "norm", [&] {
    return gated_rms_norm(
        ctx, core.y, z, ctx.use(*norm_),
        {.order = config_.norm_before_gate ? GateOrder::kNormThenGate : GateOrder::kGateThenNorm,
         .group_size = norm_group_,
         .eps = norm_eps_});
  });
}

std::unique_ptr<BlockState> Mamba2Mixer::start(Context& /*ctx*/, std::int64_t /*batch*/,
                                               std::int64_t /*max_length*/) const {
  return std::make_unique<Mamba2State>();
}

// C B^T once a group, its product with x, and the state written and read.
double Mamba2Mixer::flops_per_token(std::int64_t seq_len) const {
  const SsdShape& shape = core_.shape;
  const std::int64_t chunk = std::min(config_.chunk, seq_len);
  return 2.0 * static_cast<double>(chunk * (shape.groups * shape.state + shape.inner()) +
                                   2 * shape.inner() * shape.state);
}

}  // namespace ghost
