#include "tools/inspect/memory_plan.h"

#include "tests/support/catch.h"
#include "tools/train/training_step.h"

namespace ghost {
namespace {

Config small_config(Recompute recompute, std::int64_t layers) {
  Config config;
  config.model.gpt = {.layers = layers,
                      .heads = 4,
                      .channels = 64,
                      .max_seq_len = 64,
                      .vocab_size = 128,
                      .bias = true};
  config.train.batch_size = 4;
  config.train.seq_len = 64;
  config.residuals.recompute = recompute;
  return config;
}

FillBatch some_tokens() {
  return [](std::int64_t /*micro_step*/, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = static_cast<std::int32_t>(i * 7 % 128);
      targets[i] = static_cast<std::int32_t>((i * 7 + 7) % 128);
    }
  };
}

// Bytes tagged residuals after a forward pass on real memory.
std::int64_t residual_bytes_after_forward(const Config& config) {
  const auto model = make_model(config.model, 0);
  TrainingStep step(config, *model, Device{});
  Context& ctx = step.context();
  Tape tape(ResidualPlan(config.residuals));
  const Shape shape{config.train.batch_size, config.train.seq_len};
  const Tensor tokens = ctx.zeros(shape, DType::kI32, MemoryTag::kBatch);
  const Context::Recording recording(ctx, &tape);
  const Tensor loss = model->loss(ctx, tokens, tokens);
  return ctx.meter().current(MemoryTag::kResiduals);
}

// Bytes a token and layer of a GPT block in units of the width, f32: twice the bf16 figures
// 32 (keep everything), 20 (norm and GELU outputs made again), 24 (all but what precedes the
// attention's output, which is kept as the input of its projection) and 2 (block inputs only).
struct Option {
  Recompute recompute;
  double bytes_per_channel;
};
const Option kOptions[] = {{Recompute::kNone, 64},
                           {Recompute::kCheap, 40},
                           {Recompute::kAttention, 48},
                           {Recompute::kBlock, 4}};

// Mean and rstd of a norm, log-sum-exp of four heads, 4 bytes each.
double statistics_of(Recompute recompute) {
  return recompute == Recompute::kBlock ? 0 : recompute == Recompute::kAttention ? 8 : 32;
}

TEST_CASE("a GPT block keeps the planned bytes a token", "[tools]") {
  for (const Option& option : kOptions) {
    INFO("recompute: " << enum_name(option.recompute));
    const MemoryPlan plan = plan_memory(small_config(option.recompute, 2), 0);
    CHECK(plan.block_bytes(/*with_statistics=*/false) == option.bytes_per_channel * 64);
    CHECK(plan.block_bytes(/*with_statistics=*/true) -
              plan.block_bytes(/*with_statistics=*/false) ==
          statistics_of(option.recompute));
  }
}

TEST_CASE("the meter finds the same bytes a token and layer", "[tools]") {
  for (const Option& option : kOptions) {
    INFO("recompute: " << enum_name(option.recompute));
    const std::int64_t more = residual_bytes_after_forward(small_config(option.recompute, 3)) -
                              residual_bytes_after_forward(small_config(option.recompute, 2));
    CHECK(static_cast<double>(more) / (4 * 64) ==
          option.bytes_per_channel * 64 + statistics_of(option.recompute));
  }
}

TEST_CASE("a dry step plans exactly what a real step holds", "[tools]") {
  for (const Option& option : kOptions) {
    INFO("recompute: " << enum_name(option.recompute));
    const Config config = small_config(option.recompute, 2);
    const MemoryPlan plan = plan_memory(config, 0);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    step.run(0, some_tokens());
    const MemoryMeter& meter = step.context().meter();
    CHECK(plan.total_peak == meter.total_peak());
    CHECK(plan.at_total_peak == meter.at_total_peak());
    for (int tag = 0; tag < kNumMemoryTags; ++tag) {
      INFO(tag_name(static_cast<MemoryTag>(tag)));
      CHECK(plan.peak[static_cast<std::size_t>(tag)] == meter.peak(static_cast<MemoryTag>(tag)));
    }
  }
}

// A GPU holds this head's logits as exponentials, a CPU only fewer of them.
TEST_CASE("the plan of a GPU's step needs no GPU", "[tools]") {
  Config config = small_config(Recompute::kNone, 2);
  config.model.gpt.vocab_size = 1 << 16;
  config.train.batch_size = 16;
  const std::int64_t logits = config.train.batch_size * config.train.seq_len << 16;
  REQUIRE(logits > 1 << 22);
  const MemoryPlan on_cpu = plan_memory(config, 0);
  config.device = "cuda:1";
  const MemoryPlan on_gpu = plan_memory(config, 0);
  CHECK(on_gpu.kept_peak > on_cpu.kept_peak + logits * 4);
  config.train.dtype = TrainDType::kBF16;
  CHECK(plan_memory(config, 0).block_bytes(/*with_statistics=*/false) ==
        on_cpu.block_bytes(/*with_statistics=*/false) / 2);
}

TEST_CASE("averaged sketches are planned for a GPU", "[tools]") {
  Config config = small_config(Recompute::kNone, 2);
  config.residuals.rules = {{.role = "linear_input", .keep = Keep::kEmaSketch}};
  for (const EmaSketchMode mode : {EmaSketchMode::kLift, EmaSketchMode::kTwoQr}) {
    config.residuals.ema_sketch.mode = mode;
    config.device = "cpu";
    config.train.dtype = TrainDType::kF32;
    const auto of_sketches = static_cast<std::size_t>(MemoryTag::kSketches);
    const std::int64_t on_cpu = plan_memory(config, 0).peak[of_sketches];
    config.device = "cuda:0";
    const std::int64_t on_gpu = plan_memory(config, 0).peak[of_sketches];
    CHECK(on_gpu > 0);
    CHECK(on_gpu < on_cpu);  // counters are the host's
    config.train.dtype = TrainDType::kBF16;
    CHECK(plan_memory(config, 0).peak[of_sketches] > on_gpu / 2);  // the state stays f32
  }
}

// A dry step checks every dtype on the way. Of two bytes a channel more, a block keeps as many as
// it has norms that read the stream, and its input where it is made again.
TEST_CASE("a residual stream in f32 costs a block what it reads of it", "[tools]") {
  Config config;
  config.device = "cuda:0";
  config.model.type = ModelType::kHybrid;
  config.model.hybrid = {
      .layers = 3,
      .channels = 64,
      .layer_types = {{LayerType::kMamba2, LayerType::kMamba3, LayerType::kAttention}},
      .vocab_size = 64,
      .mamba2 = {.state = 32, .head_dim = 16, .chunk = 16, .mlp = 96},
      .mamba3 = {.state = 32, .head_dim = 16, .mimo_rank = 2, .is_outproj_norm = true, .mlp = 96},
      .attention = {.heads = 4, .conv = 4, .mlp = 128}};
  config.train.dtype = TrainDType::kBF16;
  config.train.batch_size = 2;
  config.train.seq_len = 64;
  const auto bytes = [&](Recompute recompute, bool in_f32) {
    config.residuals.recompute = recompute;
    config.model.hybrid.residual_in_f32 = in_f32;
    return plan_memory(config, 0).block_bytes(/*with_statistics=*/false);
  };
  const std::pair<Recompute, int> kReads[] = {{Recompute::kNone, 2},
                                              {Recompute::kCheap, 2},
                                              {Recompute::kAttention, 2},
                                              {Recompute::kBlock, 1}};
  for (const auto& [recompute, reads] : kReads) {
    INFO("recompute: " << enum_name(recompute));
    CHECK(bytes(recompute, true) == Approx(bytes(recompute, false) + 2 * 64 * reads));
  }
}

TEST_CASE("a residual stream in f32 is what f32 has anyway", "[tools]") {
  Config config;
  config.model.type = ModelType::kMamba3;
  config.model.hybrid = {.layers = 2,
                         .channels = 16,
                         .vocab_size = 128,
                         .mamba3 = {.state = 8, .head_dim = 8, .mimo_rank = 2}};
  config.train.batch_size = 2;
  config.train.seq_len = 9;
  const auto loss = [&](bool in_f32) {
    config.model.hybrid.residual_in_f32 = in_f32;
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    return step.run(0, some_tokens()).loss;
  };
  CHECK(loss(true) == loss(false));
}

TEST_CASE("a step in steady state asks the system for no memory", "[tools]") {
  for (const Option& option : kOptions) {
    INFO("recompute: " << enum_name(option.recompute));
    const Config config = small_config(option.recompute, 2);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    step.run(0, some_tokens());
    const std::int64_t after_first = step.context().allocator()->num_system_allocations();
    for (std::int64_t i = 1; i < 5; ++i) {
      step.run(i, some_tokens());
    }
    CHECK(step.context().allocator()->num_system_allocations() == after_first);
    CHECK(step.context().meter().current(MemoryTag::kResiduals) == 0);
  }
}

TEST_CASE("recomputation changes no bit of an exact step", "[tools]") {
  std::vector<float> expected;
  for (const Option& option : kOptions) {
    INFO("recompute: " << enum_name(option.recompute));
    const Config config = small_config(option.recompute, 2);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    for (std::int64_t i = 0; i < 3; ++i) {
      step.run(i, some_tokens());
    }
    std::vector<float> values;
    for (const auto& parameter : model->parameters().all()) {
      const auto span = parameter->value.span<float>();
      values.insert(values.end(), span.begin(), span.end());
    }
    if (expected.empty()) {
      expected = values;
    }
    CHECK(values == expected);
  }
}

}  // namespace
}  // namespace ghost
