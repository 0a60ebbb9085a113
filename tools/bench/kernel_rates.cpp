#include "tools/bench/kernel_rates.h"

#include "engine/autograd/residual_codec.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/optimizer.h"
#include "ops/row_sketch.h"
#include "tools/bench/kernel_bench.h"

namespace ghost {
namespace {

Ceilings measure_ceilings(KernelBench& bench, const Device& device) {
  Ceilings ceilings;
  const std::int64_t copied = device.is_cuda() ? std::int64_t{1} << 30 : std::int64_t{1} << 26;
  const Tensor from = bench.context().zeros({copied}, DType::kF32);
  const Tensor to = bench.context().zeros({copied}, DType::kF32);
  ceilings.copy_bytes_per_s =
      2 * static_cast<double>(from.bytes()) / bench.seconds([&] { copy(to, from); });
  const std::int64_t n = device.is_cuda() ? 8192 : 2048;
  const Tensor x = bench.random({n, n});
  const Tensor weight = bench.random({n, n});
  const double flops = 2.0 * static_cast<double>(n) * static_cast<double>(n * n);
  ceilings.gemm_flops_per_s =
      flops / bench.seconds([&] { linear(bench.context(), x, weight, Tensor{}); });
  return ceilings;
}

void measure_gpt_block(KernelBench& bench, const Config& config, double item_bytes) {
  Context& ctx = bench.context();
  const GptConfig& model = config.model.gpt;
  const std::int64_t batch = config.train.batch_size;
  const std::int64_t seq_len = config.train.seq_len;
  const std::int64_t channels = model.channels;
  const auto rows = static_cast<double>(batch * seq_len);
  const double row_bytes = static_cast<double>(channels) * item_bytes;
  const Tensor x = bench.random({batch, seq_len, channels});

  const Tensor joined = bench.random(x.shape());
  bench.add("add", [&] { add(ctx, x, joined); }, {.bytes = 3 * rows * row_bytes});
  bench.add_op("layer_norm", {x, bench.random({channels}), bench.random({channels})},
               [&](const Tensors& in) { return layer_norm(ctx, in[0], in[1], in[2], 1e-5); },
               {.bytes = 2 * rows * row_bytes}, {.bytes = 3 * rows * row_bytes});

  bench.add_linear("linear qkv", x.shape(), 3 * channels, Bias::kYes);
  bench.add_linear("linear up", x.shape(), 4 * channels, Bias::kYes);
  bench.add_linear("linear down", x.shape().with_last(4 * channels), channels, Bias::kYes);

  const AttentionShape heads{
      .heads = model.heads, .kv_heads = model.heads, .head_dim = channels / model.heads};
  // Causal: half of the products of scores and of values.
  const double products = 2 * rows * static_cast<double>(seq_len) * static_cast<double>(channels);
  bench.add_op("attention", {bench.random({batch, seq_len, heads.packed_width()})},
               [&](const Tensors& in) { return attention(ctx, in[0], heads); },
               {.flops = products, .bytes = 4 * rows * row_bytes},
               {.flops = 2.5 * products, .bytes = 8 * rows * row_bytes});

  bench.add_op("gelu", {bench.random({batch, seq_len, 4 * channels})},
               [&](const Tensors& in) { return gelu(ctx, in[0], GeluForm::kTanh); },
               {.bytes = 8 * rows * row_bytes}, {.bytes = 12 * rows * row_bytes});
}

void measure_head(KernelBench& bench, const Config& config, std::int64_t vocab_size,
                  double item_bytes) {
  Context& ctx = bench.context();
  const std::int64_t rows = config.train.batch_size * config.train.seq_len;
  const std::int64_t channels = config.model.channels();
  const Tensor targets = bench.tokens({rows}, vocab_size);
  const double flops = 2 * static_cast<double>(rows) * static_cast<double>(vocab_size) *
                       static_cast<double>(channels);
  const double bytes = item_bytes * static_cast<double>((rows + vocab_size) * channels);
  bench.add_op("head and loss",
               {bench.random({rows, channels}), bench.random({vocab_size, channels}, 0.02)},
               [&](const Tensors& in) { return linear_cross_entropy(ctx, in[0], in[1], targets); },
               {.flops = flops, .bytes = bytes}, {.flops = 2 * flops, .bytes = 2 * bytes});
}

void measure_optimizer(KernelBench& bench, const Config& config, std::int64_t vocab_size) {
  Context& ctx = bench.context();
  ParameterStore store;
  const std::int64_t n = make_model(config.model, vocab_size)->parameters().num_elements();
  store.declare("all", {n}, Decay::kYes, {.kind = InitKind::kNormal, .std = 0.02});
  store.materialize(ctx.allocator(), parameter_dtype(config.train.dtype),
                    activation_dtype(config.train.dtype));
  store.initialize(1);
  store.begin_gradients();
  fill(store.all()[0]->grad, 1e-3);
  const auto optimizer = make_optimizer(config.optimizer, ctx, store);
  const Tensor losses = ctx.zeros({1}, DType::kF32);
  const auto count = static_cast<double>(n);
  StepNumbers numbers;
  bench.add("gradient norm", [&] { numbers = step_numbers(ctx, store, losses, /*max_norm=*/1); },
            {.bytes = 4 * count});
  std::int64_t step = 0;
  // Reads gradient, value and state, writes value and state.
  const double words = config.optimizer.kind == OptimizerKind::kAdamW ? 7 : 5;
  bench.add("optimizer",
            [&] {
              optimizer->step(ctx, store,
                              {.lr = 1e-3, .grad_scale = numbers.factor(), .step = ++step});
            },
            {.bytes = 4 * words * count});
}

void measure_residuals(KernelBench& bench, const Config& config, double item_bytes) {
  Context& ctx = bench.context();
  const std::int64_t rows = config.train.batch_size * config.train.seq_len;
  const std::int64_t width = 4 * config.model.channels();
  const Tensor x = bench.random({rows, width});
  const double bytes = item_bytes * static_cast<double>(x.numel());
  const RandomStream stream{.seed = 1};
  SketchConfig sketch = config.residuals.sketch;
  sketch.center = Centering::kNone;
  const std::int64_t rank = sketch_rank(sketch, rows, /*progress=*/0);
  bench.add("sketch of x", [&] { const RowSketch made(ctx, x, sketch, stream, rank); },
            {.bytes = bytes});
  const auto kept = std::make_shared<const RowSketch>(ctx, x, sketch, stream, rank);
  const GradientTarget dbias{.grad = ctx.zeros({width}, parameter_dtype(config.train.dtype))};
  bench.add("sketch of dy, norm, db",
            [&] {
              GradientSketch gradient(ctx, kept, width);
              gradient.add(ctx, x, /*first_row=*/0, dbias);
            },
            {.bytes = bytes});
  for (const Keep keep : {Keep::kInt8, Keep::kInt4}) {
    const double packed = static_cast<double>(x.numel()) * (keep == Keep::kInt8 ? 1.0 : 0.5);
    const std::string name(enum_name(keep));
    EncodedResidual encoded;
    bench.add("pack " + name, [&] { encoded = encode_residual(x, keep, /*group=*/128, stream); },
              {.bytes = bytes + packed});
    bench.add("unpack " + name, [&] { decode_residual(encoded, x.dtype()); },
              {.bytes = bytes + packed});
  }
}

void check_dtype(DType dtype) {
  GHOST_CHECK(dtype != DType::kF64, "bench: train.dtype is f64; expected f32 or bf16");
}

}  // namespace

Ceilings measure_ceilings(const Device& device, DType dtype) {
  check_dtype(dtype);
  KernelBench bench(device, dtype);
  return measure_ceilings(bench, device);
}

KernelRates measure_kernel_rates(const Config& config, std::int64_t vocab_size,
                                 const Device& device) {
  const DType dtype = activation_dtype(config.train.dtype);
  check_dtype(dtype);
  KernelBench bench(device, dtype);
  const auto item_bytes = static_cast<double>(itemsize(dtype));
  bench.rates.ceilings = measure_ceilings(bench, device);
  config.model.is_gpt() ? measure_gpt_block(bench, config, item_bytes)
                        : measure_mixers(bench, config, item_bytes);
  measure_head(bench, config, vocab_size, item_bytes);
  measure_optimizer(bench, config, vocab_size);
  measure_residuals(bench, config, item_bytes);
  return std::move(bench.rates);
}

}  // namespace ghost
