// Models of state spaces in bf16 on a CPU: training against f32, and their memory plans.

#include <cmath>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tools/inspect/memory_plan.h"
#include "tools/train/training_step.h"

namespace ghost {
namespace {

struct NamedConfig {
  std::string name;
  Config config;
};

/// Every kind of mixer, ranks, and a residual stream in f32.
std::vector<NamedConfig> mixers() {
  const auto make = [](std::string name, ModelType type, const auto& change) {
    Config config;
    config.model.type = type;
    config.model.hybrid = {.layers = 2,
                           .channels = 32,
                           .vocab_size = 128,
                           .mamba2 = {.state = 16, .head_dim = 16, .chunk = 16},
                           .mamba3 = {.state = 16, .head_dim = 16, .chunk = 16},
                           .attention = {.heads = 4, .kv_heads = 2, .conv = 4, .mlp = 48}};
    config.train.batch_size = 4;
    config.train.seq_len = 40;
    config.train.dtype = TrainDType::kBF16;
    change(config.model.hybrid);
    return NamedConfig{std::move(name), config};
  };
  return {make("mamba2", ModelType::kMamba2, [](HybridConfig&) {}),
          make("mamba3", ModelType::kMamba3, [](HybridConfig&) {}),
          make("mamba3 with ranks, norm and MLP", ModelType::kMamba3,
               [](HybridConfig& c) {
                 c.mamba3.mimo_rank = 2;
                 c.mamba3.is_outproj_norm = true;
                 c.mamba3.mlp = 48;
               }),
          make("hybrid", ModelType::kHybrid, [](HybridConfig& c) {
            c.layers = 3;
            c.residual_in_f32 = true;
            c.layer_types = {{LayerType::kMamba2, LayerType::kMamba3, LayerType::kAttention}};
          })};
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

std::vector<double> losses_of(const Config& config, std::int64_t steps) {
  const auto model = make_model(config.model, 0);
  TrainingStep step(config, *model, Device{});
  std::vector<double> losses;
  for (std::int64_t i = 0; i < steps; ++i) {
    losses.push_back(step.run(i, some_tokens()).loss);
  }
  return losses;
}

TEST_CASE("models of state spaces learn in bf16 as they do in f32", "[tools]") {
  constexpr std::int64_t kSteps = 40;
  for (auto [name, config] : mixers()) {
    INFO(name);
    config.schedule = {.kind = ScheduleKind::kConstant, .peak = 3e-3, .warmup_steps = 0};
    const auto narrow = losses_of(config, kSteps);
    config.train.dtype = TrainDType::kF32;
    const auto wide = losses_of(config, kSteps);
    CHECK(wide.back() < wide.front() - 0.5);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      INFO("step " << i << ", in f32 " << wide[i]);
      CHECK(std::abs(narrow[i] - wide[i]) < 0.02);
    }
  }
}

TEST_CASE("a dry step of state spaces plans exactly what a real one holds in bf16", "[tools]") {
  for (const auto& [name, original] : mixers()) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kCheap, Recompute::kBlock}) {
      INFO(name << ", recompute: " << enum_name(recompute));
      Config config = original;
      config.residuals.recompute = recompute;
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
}

// Two bytes a number but for steps, decays, means and the f32 they come to.
TEST_CASE("residuals of state spaces in bf16 are half those in f32", "[tools]") {
  for (auto [name, config] : mixers()) {
    INFO(name);
    config.model.hybrid.residual_in_f32 = false;
    const auto bytes = [&](TrainDType dtype) {
      config.train.dtype = dtype;
      return plan_memory(config, 0).block_bytes(/*with_statistics=*/false);
    };
    CHECK(bytes(TrainDType::kBF16) == Approx(bytes(TrainDType::kF32) / 2));
  }
}

}  // namespace
}  // namespace ghost
