#include <algorithm>
#include <set>

#include "ops/attention.h"
#include "ops/causal_conv1d.h"
#include "ops/gated_rms_norm.h"
#include "ops/in_dtype.h"
#include "ops/mamba3_core.h"
#include "ops/mamba3_gate.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/ssd.h"
#include "ops/swiglu.h"
#include "tools/bench/kernel_bench.h"

namespace ghost {
namespace {

/// What all mixers of a model share.
struct Sizes {
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t channels;
  double item_bytes;

  Shape shape(std::int64_t width) const { return {batch, seq_len, width}; }
  double tokens() const { return static_cast<double>(batch * seq_len); }
  /// Of one pass over that many numbers a token.
  double bytes(std::int64_t width) const {
    return tokens() * item_bytes * static_cast<double>(width);
  }
};

/// What steers a state is f32 where activations are bf16.
Tensor precise(KernelBench& bench, const Tensor& x) {
  return in_dtype(bench.context(), x, statistic_dtype(x.dtype()));
}

void measure_norm(KernelBench& bench, const Sizes& sizes, const std::string& name,
                  const Shape& shape) {
  const std::int64_t width = shape.numel() / (sizes.batch * sizes.seq_len);
  bench.add_op(name, {bench.random(shape), bench.random({shape.back()})},
               [&](const Tensors& in) { return rms_norm(bench.context(), in[0], in[1], 1e-5); },
               {.bytes = sizes.bytes(2 * width)}, {.bytes = sizes.bytes(3 * width)});
}

void measure_conv(KernelBench& bench, const Sizes& sizes, const std::string& name,
                  std::int64_t width, std::int64_t taps, ConvActivation activation) {
  bench.add_op(name, {bench.random(sizes.shape(width)), bench.random({width, taps}, 0.3)},
               [&](const Tensors& in) {
                 return causal_conv1d(bench.context(), in[0], in[1], {}, activation);
               },
               {.bytes = sizes.bytes(2 * width)}, {.bytes = sizes.bytes(3 * width)});
}

void measure_mlp(KernelBench& bench, const Sizes& sizes, const std::string& prefix,
                 std::int64_t hidden) {
  if (hidden == 0) {
    return;
  }
  bench.add_linear(prefix + "fc1", sizes.shape(sizes.channels), 2 * hidden, Bias::kNo);
  bench.add_op(prefix + "swiglu", {bench.random(sizes.shape(2 * hidden))},
               [&](const Tensors& in) { return swiglu(bench.context(), in[0]); },
               {.bytes = sizes.bytes(3 * hidden)}, {.bytes = sizes.bytes(5 * hidden)});
  bench.add_linear(prefix + "fc2", sizes.shape(hidden), sizes.channels, Bias::kNo);
}

// FLOPs of the cores are those of their chunks: 2 [L (G N + H P) + 2 H P N] a token forward,
// backward with the states made again 2 [L (3 G N + 2 H P) + 5 H P N].
void measure_mamba2(KernelBench& bench, const Sizes& sizes, const Mamba2Config& config) {
  const SsdConfig core{.shape = {.heads = config.inner(sizes.channels) / config.head_dim,
                                 .head_dim = config.head_dim,
                                 .groups = config.groups,
                                 .state = config.state},
                       .chunk = config.chunk};
  const SsdShape& shape = core.shape;
  const std::int64_t inner = shape.inner();
  const std::int64_t packed = shape.packed_width();
  bench.add_linear("mamba2 in_proj", sizes.shape(sizes.channels), inner + packed + shape.heads,
                   Bias::kNo);
  measure_conv(bench, sizes, "mamba2 conv1d", packed, config.conv, ConvActivation::kSilu);
  const auto chunk = static_cast<double>(std::min(config.chunk, sizes.seq_len));
  const auto keys = static_cast<double>(shape.groups * shape.state);
  const auto values = static_cast<double>(inner);
  const double states = values * static_cast<double>(shape.state);
  bench.add_op(
      "mamba2 core",
      {bench.random(sizes.shape(packed)), bench.random(sizes.shape(shape.heads)),
       precise(bench, bench.random({shape.heads})), precise(bench, bench.random({shape.heads})),
       precise(bench, bench.random({shape.heads}))},
      [&](const Tensors& in) {
        return ssd(bench.context(), in[0], in[1], {.a_log = in[2], .d = in[3], .dt_bias = in[4]},
                   core)
            .y;
      },
      {.flops = 2 * sizes.tokens() * (chunk * (keys + values) + 2 * states),
       .bytes = sizes.bytes(packed + inner)},
      {.flops = 2 * sizes.tokens() * (chunk * (3 * keys + 2 * values) + 5 * states),
       .bytes = sizes.bytes(2 * packed + inner)});
  bench.add_op(
      "mamba2 gated norm",
      {bench.random(sizes.shape(inner)), bench.random(sizes.shape(inner)), bench.random({inner})},
      [&](const Tensors& in) {
        return gated_rms_norm(bench.context(), in[0], in[1], in[2],
                              {.group_size = config.norm_group_size(sizes.channels)});
      },
      {.bytes = sizes.bytes(3 * inner)}, {.bytes = sizes.bytes(5 * inner)});
  bench.add_linear("mamba2 out_proj", sizes.shape(inner), sizes.channels, Bias::kNo);
  measure_mlp(bench, sizes, "mamba2 ", config.mlp);
}

// Likewise 2 [L R^2 H (N + P) + 2 R H P N] and 2 [L R^2 H (3 N + 2 P) + 5 R H P N].
void measure_mamba3(KernelBench& bench, const Sizes& sizes, const Mamba3Config& config) {
  const std::int64_t inner = config.inner(sizes.channels);
  const std::int64_t heads = inner / config.head_dim;
  const std::int64_t ranks = config.mimo_rank;
  const std::int64_t keys = ranks * config.groups * config.state;
  bench.add_linear("mamba3 in_proj", sizes.shape(sizes.channels),
                   2 * inner + 2 * keys + 3 * heads + config.angles(), Bias::kNo);
  const Shape key{sizes.batch, sizes.seq_len, ranks, config.groups, config.state};
  measure_norm(bench, sizes, "mamba3 B_norm", key);
  const Shape value{sizes.batch, sizes.seq_len, heads, config.head_dim};
  const Shape bias{heads, ranks, config.state};
  const Tensor decays = precise(bench, bench.random(sizes.shape(heads), -1e-2, Sign::kOfScale));
  const Tensor steps = precise(bench, bench.random(sizes.shape(heads), 1e-2, Sign::kOfScale));
  const auto chunk = static_cast<double>(std::min(config.chunk_tokens(), sizes.seq_len));
  const double pairs = chunk * static_cast<double>(ranks * ranks * heads);
  const auto n = static_cast<double>(config.state);
  const auto p = static_cast<double>(config.head_dim);
  const double states = static_cast<double>(ranks * inner) * n;
  bench.add_op(
      "mamba3 core",
      {bench.random(key), bench.random(key), bench.random(value), decays, steps,
       bench.random(sizes.shape(heads)), bench.random(sizes.shape(config.angles())),
       precise(bench, bench.random(bias)), precise(bench, bench.random(bias)),
       precise(bench, bench.random({heads})), bench.random({heads, ranks, config.head_dim})},
      [&](const Tensors& in) {
        return mamba3_core(
                   bench.context(),
                   {.q = in[0],
                    .k = in[1],
                    .v = in[2],
                    .a = in[3],
                    .dt = in[4],
                    .trap = in[5],
                    .angle = in[6],
                    .q_bias = in[7],
                    .k_bias = in[8],
                    .d = in[9],
                    .mimo_x = ranks > 1 ? in[10] : Tensor{}},
                   {.chunk = config.chunk,
                    .pairing = ranks > 1 ? RotaryPairing::kHalves : RotaryPairing::kAdjacent})
            .o;
      },
      {.flops = 2 * sizes.tokens() * (pairs * (n + p) + 2 * states),
       .bytes = sizes.bytes(2 * keys + inner + ranks * inner)},
      {.flops = 2 * sizes.tokens() * (pairs * (3 * n + 2 * p) + 5 * states),
       .bytes = sizes.bytes(4 * keys + 2 * inner + ranks * inner)});
  const Tensor o = bench.random({sizes.batch, sizes.seq_len, ranks, heads, config.head_dim});
  bench.add_op(
      "mamba3 gate", {o, bench.random(value)},
      [&](const Tensors& in) { return mamba3_gate(bench.context(), in[0], in[1], {}, {}); },
      {.bytes = sizes.bytes((2 + ranks) * inner)}, {.bytes = sizes.bytes((3 + 2 * ranks) * inner)});
  bench.add_linear("mamba3 out_proj", sizes.shape(inner), sizes.channels, Bias::kNo);
  measure_mlp(bench, sizes, "mamba3 ", config.mlp);
}

void measure_attention(KernelBench& bench, const Sizes& sizes, const AttentionConfig& config) {
  const AttentionShape shape = config.shape(sizes.channels);
  const std::int64_t packed = shape.packed_width();
  bench.add_linear("attention in_proj", sizes.shape(sizes.channels), packed, Bias::kNo);
  if (config.conv > 0) {
    measure_conv(bench, sizes, "attention conv1d", packed, config.conv, ConvActivation::kNone);
  }
  const Tensor qkv = bench.random(sizes.shape(packed));
  if (config.rope_fraction > 0) {
    const RopeOptions turns{.heads = shape.heads + 2 * shape.kv_heads,
                            .head_dim = shape.head_dim,
                            .rotated_heads = shape.heads + shape.kv_heads,
                            .base = config.rope_base,
                            .fraction = config.rope_fraction};
    bench.add("attention rope", [&] { rope(bench.context(), qkv, turns); },
              {.bytes = sizes.bytes(2 * packed)});
  }
  // Causal: half of the products of scores and of values.
  const double products = 2 * sizes.tokens() * static_cast<double>(sizes.seq_len * shape.width());
  bench.add_op("attention", {qkv},
               [&](const Tensors& in) { return attention(bench.context(), in[0], shape); },
               {.flops = products, .bytes = sizes.bytes(packed + shape.width())},
               {.flops = 2.5 * products, .bytes = sizes.bytes(2 * packed + 2 * shape.width())});
  bench.add_linear("attention out_proj", sizes.shape(shape.width()), sizes.channels, Bias::kNo);
  measure_mlp(bench, sizes, "attention ", config.mlp);
}

}  // namespace

void measure_mixers(KernelBench& bench, const Config& config, double item_bytes) {
  const HybridConfig model = config.model.as_hybrid();
  const Sizes sizes{.batch = config.train.batch_size,
                    .seq_len = config.train.seq_len,
                    .channels = model.channels,
                    .item_bytes = item_bytes};
  measure_norm(bench, sizes, "rms_norm", sizes.shape(sizes.channels));
  const std::set<LayerType> types(model.layer_types.pattern.begin(),
                                  model.layer_types.pattern.end());
  for (const LayerType type : types) {
    switch (type) {
      case LayerType::kMamba2:
        measure_mamba2(bench, sizes, model.mamba2);
        break;
      case LayerType::kMamba3:
        measure_mamba3(bench, sizes, model.mamba3);
        break;
      case LayerType::kAttention:
        measure_attention(bench, sizes, model.attention);
        break;
    }
  }
}

}  // namespace ghost
