// GPTs, with and without regions, in bf16 on a CPU, with every way of keeping residuals: training
// against f32, and what is kept in f32. (State-space models: bf16_mixers_test.cpp.)

#include <cmath>
#include <vector>

#include "models/lbi/lbi_model.h"
#include "tests/support/catch.h"
#include "tools/inspect/memory_plan.h"
#include "tools/train/training_step.h"

namespace ghost {
namespace {

Config small_gpt() {
  Config config;
  config.model.type = ModelType::kGpt;
  config.model.gpt = {
      .layers = 2, .heads = 4, .channels = 32, .max_seq_len = 40, .vocab_size = 128};
  config.train.batch_size = 8;
  config.train.seq_len = 40;
  config.schedule = {.kind = ScheduleKind::kConstant, .peak = 3e-3, .warmup_steps = 0};
  return config;
}

FillBatch some_tokens() {
  return [](std::int64_t /*micro_step*/, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = static_cast<std::int32_t>(i * i % 61);
      targets[i] = static_cast<std::int32_t>((i + 1) * (i + 1) % 61);
    }
  };
}

std::vector<double> losses_of(Config config, TrainDType dtype) {
  constexpr std::int64_t kSteps = 40;
  config.train.dtype = dtype;
  const auto model = make_model(config.model, 0);
  TrainingStep step(config, *model, Device{});
  std::vector<double> losses;
  for (std::int64_t i = 0; i < kSteps; ++i) {
    losses.push_back(step.run(i, some_tokens()).loss);
  }
  return losses;
}

void check_learns_alike(const Config& config, double tolerance) {
  const auto narrow = losses_of(config, TrainDType::kBF16);
  const auto wide = losses_of(config, TrainDType::kF32);
  CHECK(wide.back() < wide.front() - 0.5);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    INFO("step " << i << ", in f32 " << wide[i]);
    CHECK(std::abs(narrow[i] - wide[i]) < tolerance);
  }
}

TEST_CASE("a GPT learns in bf16 as it does in f32, whatever keeps its residuals", "[tools]") {
  for (const ResidualPreset preset :
       {ResidualPreset::kNone, ResidualPreset::kBasis, ResidualPreset::kBasisInt8,
        ResidualPreset::kBasisInt8Gelu4, ResidualPreset::kBasisRecompute, ResidualPreset::kGhost}) {
    INFO(enum_name(preset));
    Config config = small_gpt();
    config.residuals.preset = preset;
    check_learns_alike(config, 0.03);
  }
}

TEST_CASE("a GPT's rows are grouped in bf16 as they are in f32", "[tools]") {
  for (const Centering center : {Centering::kMean, Centering::kToken, Centering::kNearest}) {
    INFO(enum_name(center));
    Config config = small_gpt();
    config.residuals.preset = ResidualPreset::kBasis;
    config.residuals.sketch.center = center;
    check_learns_alike(config, 0.05);
  }
}

TEST_CASE("a model of regions learns in bf16 as it does in f32", "[tools]") {
  for (const RegionsBackward backward :
       {RegionsBackward::kTape, RegionsBackward::kScan, RegionsBackward::kSerialAdjoint}) {
    INFO(enum_name(backward));
    Config config = small_gpt();
    config.model.gpt.layers = 3;
    config.model.regions =
        RegionsConfig{.layers_per_region = 1, .state_dim = 6, .backward = backward};
    check_learns_alike(config, 0.03);
  }
}

TEST_CASE("states of regions and what makes them stay in f32", "[tools]") {
  Config config = small_gpt();
  config.train.dtype = TrainDType::kBF16;
  config.model.regions = RegionsConfig{.layers_per_region = 1, .state_dim = 6};
  const auto model = make_model(config.model, 0);
  Context ctx(Device{});
  model->parameters().materialize(ctx.allocator(), DType::kF32, DType::kBF16);
  model->parameters().initialize(1);
  for (const auto& parameter : model->parameters().all()) {
    INFO(parameter->name);
    const bool is_of_interface = parameter->name.starts_with("regions.");
    CHECK((parameter->used().dtype() == DType::kF32) == is_of_interface);
  }
  const auto& lbi = dynamic_cast<const LbiModel&>(*model);
  const Slots slots = training_slots(lbi.config(), config.train.seq_len);
  const Tensor canvas = ctx.zeros({1, config.train.seq_len, 32}, DType::kBF16);
  const Tensor state = lbi.initial_state(ctx, canvas, slots);
  const Tensor features = lbi.regions()[0].features(ctx, canvas, state, slots);
  CHECK(state.dtype() == DType::kF32);
  CHECK(features.dtype() == DType::kBF16);
  CHECK(lbi.regions()[0].next_state(ctx, state, features, slots).dtype() == DType::kF32);
}

TEST_CASE("a dry step of a GPT plans exactly what a real one holds in bf16", "[tools]") {
  for (const ResidualPreset preset :
       {ResidualPreset::kNone, ResidualPreset::kBasis, ResidualPreset::kGhost}) {
    INFO(enum_name(preset));
    Config config = small_gpt();
    config.train.dtype = TrainDType::kBF16;
    config.residuals.preset = preset;
    const MemoryPlan plan = plan_memory(config, 0);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    step.run(0, some_tokens());
    CHECK(plan.total_peak == step.context().meter().total_peak());
    CHECK(plan.at_total_peak == step.context().meter().at_total_peak());
  }
}

}  // namespace
}  // namespace ghost
