#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/sampling.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"
#include "tests/support/temporary_directory.h"
#include "tools/inspect/memory_plan.h"
#include "tools/train/training_step.h"

namespace ghost {
namespace {

Config config_on(const Device& device, TrainDType dtype, ResidualPreset preset) {
  Config config;
  config.device = device.name();
  config.model.gpt = {
      .layers = 2, .heads = 2, .channels = 64, .max_seq_len = 64, .vocab_size = 100, .bias = true};
  config.train = {.steps = 20, .batch_size = 4, .seq_len = 64, .micro_steps = 2, .dtype = dtype};
  config.schedule.warmup_steps = 2;
  config.residuals.preset = preset;
  return config;
}

FillBatch tokens_of_step(std::int64_t step) {
  return [step](std::int64_t micro_step, std::span<std::int32_t> inputs,
                std::span<std::int32_t> targets) {
    const RandomStream stream{
        .seed = 11, .step = step, .micro_step = micro_step, .purpose = Purpose::kBatch};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = static_cast<std::int32_t>(stream.words(static_cast<std::uint32_t>(i))[0] % 50);
      targets[i] = (inputs[i] * 3 + 1) % 100;
    }
  };
}

/// Losses and norms of the first steps, and the weights after them.
struct Trace {
  std::vector<double> losses;
  std::vector<double> norms;
  std::vector<double> weights;
};

Trace train(TrainingStep& step, std::int64_t steps) {
  Trace trace;
  for (std::int64_t i = 0; i < steps; ++i) {
    const StepFacts facts = step.run(i, tokens_of_step(i));
    REQUIRE(facts.is_finite);
    trace.losses.push_back(facts.loss);
    trace.norms.push_back(facts.grad_norm);
  }
  for (const ParameterGroup& group : step.model().parameters().groups()) {
    const auto values = test::values_of(group.values);
    trace.weights.insert(trace.weights.end(), values.begin(), values.end());
  }
  return trace;
}

Trace train(const Config& config, const Device& device, std::int64_t steps) {
  const auto model = make_model(config.model, 0);
  TrainingStep step(config, *model, device);
  return train(step, steps);
}

void check_close(const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance) {
  REQUIRE(got.size() == expected.size());
  double difference = 0;
  double scale = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference = std::max(difference, std::abs(got[i] - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  CHECK(difference <= tolerance * scale);
}

TEST_CASE("training on a GPU follows the CPU", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const ResidualPreset preset :
         {ResidualPreset::kNone, ResidualPreset::kBasisInt8, ResidualPreset::kGhost}) {
      const Trace expected =
          train(config_on(Device{}, TrainDType::kF32, preset), Device{}, /*steps=*/10);
      for (const auto& [dtype, tolerance] :
           {std::pair{TrainDType::kF32, 2e-3}, std::pair{TrainDType::kBF16, 5e-2}}) {
        INFO(device.name() << " in " << enum_name(dtype) << ", " << enum_name(preset));
        const Trace got = train(config_on(device, dtype, preset), device, /*steps=*/10);
        check_close(got.losses, expected.losses, tolerance);
        check_close(got.norms, expected.norms, 4 * tolerance);
      }
    }
  }
}

TEST_CASE("training from averaged sketches on a GPU follows the CPU", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const EmaSketchMode mode :
         {EmaSketchMode::kLift, EmaSketchMode::kTwoQr, EmaSketchMode::kTropp}) {
      const auto config_of = [&](const Device& on, TrainDType dtype) {
        Config config = config_on(on, dtype, ResidualPreset::kNone);
        config.residuals.rules = {{.role = "linear_input", .keep = Keep::kEmaSketch}};
        config.residuals.ema_sketch = {.mode = mode, .warmup = EmaWarmup::kNone};
        config.monitor = MonitorConfig{.every = 3};
        return config;
      };
      const Trace expected = train(config_of({}, TrainDType::kF32), {}, /*steps=*/10);
      for (const auto& [dtype, tolerance] :
           {std::pair{TrainDType::kF32, 1e-2}, std::pair{TrainDType::kBF16, 0.1}}) {
        INFO(device.name() << " in " << enum_name(dtype) << ", " << enum_name(mode));
        const Trace got = train(config_of(device, dtype), device, /*steps=*/10);
        check_close(got.losses, expected.losses, tolerance);
      }
    }
  }
}

TEST_CASE("two runs on a GPU agree bit for bit", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const TrainDType dtype : {TrainDType::kF32, TrainDType::kBF16}) {
      const Config config = config_on(device, dtype, ResidualPreset::kBasisInt8);
      const Trace first = train(config, device, 5);
      const Trace second = train(config, device, 5);
      CHECK(first.losses == second.losses);
      CHECK(first.norms == second.norms);
      CHECK(first.weights == second.weights);
    }
  }
}

TEST_CASE("a step on a GPU holds what was planned and takes no new memory", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const TrainDType dtype : {TrainDType::kF32, TrainDType::kBF16}) {
      const Config config = config_on(device, dtype, ResidualPreset::kNone);
      const auto model = make_model(config.model, 0);
      TrainingStep step(config, *model, device);
      train(step, 2);
      const Allocator& memory = *step.context().allocator();
      const std::int64_t taken = memory.num_system_allocations();
      train(step, 4);
      CHECK(memory.num_system_allocations() == taken);
      // Of what backward waits for; workspace is the kernels' own.
      CHECK(memory.meter().kept_peak() == plan_memory(config, 0).kept_peak);
    }
  }
}

TEST_CASE("a step that is not finite changes no weight on a GPU", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    Config config = config_on(device, TrainDType::kF32, ResidualPreset::kNone);
    config.train.on_nonfinite = OnNonfinite::kSkip;
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, device);
    const Parameter& wte = *model->parameters().all().front();
    const auto bias = model->parameters().find("transformer.ln_f.bias");
    fill(bias->value, std::nan(""));
    const auto before = test::values_of(wte.value);
    const StepFacts facts = step.run(0, tokens_of_step(0));
    CHECK_FALSE(facts.is_finite);
    CHECK(facts.is_skipped);
    CHECK(test::values_of(wte.value) == before);
    CHECK(step.describe_nonfinite(0, tokens_of_step(0)) ==
          "parameter transformer.ln_f.bias is nan at element 0 before the step");
  }
}

TEST_CASE("a checkpoint goes from a GPU to the CPU and back", "[tools][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    const test::TemporaryDirectory dir;
    const Config config = config_on(device, TrainDType::kBF16, ResidualPreset::kNone);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, device);
    train(step, 2);
    write_tensors(dir / "model.safetensors", named_values(model->parameters()));

    const Config on_cpu = config_on(Device{}, TrainDType::kF32, ResidualPreset::kNone);
    const auto copied = make_model(on_cpu.model, 0);
    TrainingStep cpu_step(on_cpu, *copied, Device{});
    const SafetensorsFile sent_file(dir / "model.safetensors");
    read_tensors(std::span(&sent_file, 1), named_values(copied->parameters()));
    write_tensors(dir / "again.safetensors", named_values(copied->parameters()));

    const auto back = make_model(config.model, 0);
    TrainingStep back_step(config, *back, device);
    const SafetensorsFile again(dir / "again.safetensors");
    read_tensors(std::span(&again, 1), named_values(back->parameters()));
    back->parameters().refresh_working();
    for (std::size_t i = 0; i < model->parameters().groups().size(); ++i) {
      const ParameterGroup& sent = model->parameters().groups()[i];
      const ParameterGroup& returned = back->parameters().groups()[i];
      CHECK(test::values_of(returned.values) == test::values_of(sent.values));
      CHECK(test::values_of(returned.working) == test::values_of(sent.working));
    }
  }
}

TEST_CASE("a GPU writes the text that the CPU writes", "[tools][cuda]") {
  const std::vector<std::int32_t> prompt{1, 2, 3};
  const GenerationOptions options{.max_tokens = 20, .sampling = {.temperature = 0}};
  for (const Device& device : test::cuda_devices()) {
    const Config config = config_on(Device{}, TrainDType::kF32, ResidualPreset::kNone);
    const auto model = make_model(config.model, 0);
    TrainingStep step(config, *model, Device{});
    train(step, 20);  // likely tokens stand out
    const auto copied = make_model(config.model, 0);
    TrainingStep there(config_on(device, TrainDType::kF32, ResidualPreset::kNone), *copied, device);
    for (std::size_t i = 0; i < model->parameters().groups().size(); ++i) {
      copy(copied->parameters().groups()[i].values, model->parameters().groups()[i].values);
    }
    CHECK(generate(there.context(), *copied, prompt, options) ==
          generate(step.context(), *model, prompt, options));
  }
}

}  // namespace
}  // namespace ghost
