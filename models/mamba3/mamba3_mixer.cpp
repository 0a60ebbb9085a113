#include "models/mamba3/mamba3_mixer.h"

#include <algorithm>
#include <array>

#include "models/module.h"
#include "ops/gated_rms_norm.h"
#include "ops/linear.h"
#include "ops/mamba3_core.h"
#include "ops/mamba3_gate.h"
#include "ops/rms_norm.h"
#include "ops/split.h"

namespace ghost {
namespace {

struct Mamba3BlockState final : BlockState {
  Mamba3State core;  // undefined at the start
};

}  // namespace

Mamba3Mixer::Mamba3Mixer(const Mamba3Config& config, std::int64_t channels, double norm_eps,
                         ModuleParameters parameters)
    : config_(config), heads_(config.inner(channels) / config.head_dim), norm_eps_(norm_eps) {
  const std::int64_t ranks = config.mimo_rank;
  const std::int64_t inner = config.inner(channels);
  const Init ones{.kind = InitKind::kOnes};
  in_proj_ = parameters.linear(
      "in_proj.weight",
      2 * inner + 2 * ranks * config.groups * config.state + 3 * heads_ + config.angles(),
      channels);
  dt_bias_ = parameters.steering(
      "dt_bias", {heads_},
      {.kind = InitKind::kInverseSoftplus, .low = config.dt_min, .high = config.dt_max});
  b_bias_ = parameters.steering("B_bias", {heads_, ranks, config.state}, ones);
  c_bias_ = parameters.steering("C_bias", {heads_, ranks, config.state}, ones);
  b_norm_ = parameters.gain("B_norm.weight", config.state);
  c_norm_ = parameters.gain("C_norm.weight", config.state);
  d_ = parameters.steering("D", {heads_}, ones);
  if (ranks > 1) {
    const Shape shape{heads_, ranks, config.head_dim};
    const Init share = constant_init(1 / static_cast<double>(ranks));
    mimo_x_ = parameters.weight("mimo_x", shape, share);
    mimo_z_ = parameters.weight("mimo_z", shape, ones);
    mimo_o_ = parameters.weight("mimo_o", shape, share);
  }
  if (config.is_outproj_norm) {
    norm_ = parameters.gain("norm.weight", inner);
  }
}

Tensor Mamba3Mixer::mix(Context& ctx, const Tensor& x, BlockState* state) const {
  auto* past = dynamic_cast<Mamba3BlockState*>(state);
  const std::int64_t inner = width();
  const std::int64_t keys = config_.mimo_rank * config_.groups * config_.state;
  const std::array<std::int64_t, 8> widths{inner,  inner,  keys,   keys,
                                           heads_, heads_, heads_, config_.angles()};
  const Tensors parts = in_module(
      ctx, "in_proj", [&] { return split(ctx, linear(ctx, x, ctx.use(*in_proj_), {}), widths); });
  const std::int64_t batch = x.dim(0);
  const std::int64_t seq_len = x.dim(1);
  const Shape value{batch, seq_len, heads_, config_.head_dim};
  const Shape key{batch, seq_len, config_.mimo_rank, config_.groups, config_.state};
  const Tensor k = in_module(ctx, "B_norm", [&] {
    return rms_norm(ctx, parts[2].reshape(key), ctx.use(*b_norm_), norm_eps_);
  });
  const Tensor q = in_module(ctx, "C_norm", [&] {
    return rms_norm(ctx, parts[3].reshape(key), ctx.use(*c_norm_), norm_eps_);
  });
  const Mamba3CoreOutput core = in_module(ctx, "core", [&] {
    const Mamba3Decay decay =
        mamba3_decay(ctx, parts[4], parts[5], ctx.use(*dt_bias_),
                     {.activation = config_.a_activation, .floor = config_.a_floor});
    return mamba3_core(
        ctx,
        {.q = q,
         .k = k,
         .v = parts[1].reshape(value),
         .a = decay.a,
         .dt = decay.dt,
         .trap = parts[6],
         .angle = parts[7],
         .q_bias = ctx.use(*c_bias_),
         .k_bias = ctx.use(*b_bias_),
         .d = ctx.use(*d_),
         .mimo_x = use_or_none(ctx, mimo_x_),
         .initial = past == nullptr ? Mamba3State{} : past->core},
        {.chunk = config_.chunk,
         .pairing = config_.mimo_rank > 1 ? RotaryPairing::kHalves : RotaryPairing::kAdjacent});
  });
  if (past != nullptr) {
    past->core = core.state;
  }
  return gated(ctx, core.o, parts[0]);
}

Tensor Mamba3Mixer::gated(Context& ctx, const Tensor& o, const Tensor& z) const {
  const GatedRmsNormConfig heads{
      .order = GateOrder::kNormThenGate, .group_size = config_.head_dim, .eps = norm_eps_};
  if (norm_ != nullptr && config_.mimo_rank == 1) {
    return in_module(ctx, "norm", [&] {
      return gated_rms_norm(ctx, o.reshape(z.shape()), z, ctx.use(*norm_), heads);
    });
  }
  Tensor out = o;
  if (norm_ != nullptr) {
    // Each rank by itself; the gates of the ranks and their sum come after it.
    out = in_module(ctx, "norm", [&] {
      const Shape rows{o.dim(0), o.dim(1), o.dim(2), width()};
      return gated_rms_norm(ctx, o.reshape(rows), {}, ctx.use(*norm_), heads).reshape(o.shape());
    });
  }
  return in_module(ctx, "gate", [&] {
    const Shape value{z.dim(0), z.dim(1), heads_, config_.head_dim};
    return mamba3_gate(ctx, out, z.reshape(value), use_or_none(ctx, mimo_z_),
                       use_or_none(ctx, mimo_o_))
        .reshape(z.shape());
  });
}

std::unique_ptr<BlockState> Mamba3Mixer::start(Context& /*ctx*/, std::int64_t /*batch*/,
                                               std::int64_t /*max_length*/) const {
  return std::make_unique<Mamba3BlockState>();
}

// (token, rank) pairs with one another, q k^T and its product with x; the state written and read.
double Mamba3Mixer::flops_per_token(std::int64_t seq_len) const {
  const std::int64_t ranks = config_.mimo_rank;
  const std::int64_t chunk = std::min(config_.chunk_tokens(), seq_len);
  return 2.0 *
         static_cast<double>(chunk * ranks * ranks * heads_ * (config_.state + config_.head_dim) +
                             2 * ranks * width() * config_.state);
}

}  // namespace ghost
