#include <algorithm>
#include <cmath>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/gpt/gpt.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/optimizer.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

GptConfig config_of(const test::GoldenCase& golden) {
  const auto& config = golden.manifest().at("config");
  return {.layers = config.at("n_layer"),
          .heads = config.at("n_head"),
          .channels = config.at("n_embd"),
          .max_seq_len = config.at("block_size"),
          .vocab_size = config.at("vocab_size"),
          .pad_vocab_to = 1,
          .bias = config.at("bias"),
          .tied_head = !golden.has("param/lm_head.weight"),
          .gelu = config.at("gelu").get<std::string>().starts_with("exact") ? GeluForm::kErf
                                                                            : GeluForm::kTanh,
          .dropout = config.at("dropout"),
          .norm_eps = config.at("layer_norm_eps")};
}

OptimizerConfig optimizer_of(const test::GoldenCase& golden) {
  const auto& optimizer = golden.manifest().at("optimizer");
  return {.beta1 = optimizer.at("betas").at(0),
          .beta2 = optimizer.at("betas").at(1),
          .eps = optimizer.at("eps"),
          .weight_decay = optimizer.at("weight_decay").get<double>(),
          .grad_clip = optimizer.at("grad_clip_global_norm")};
}

struct Tolerances {
  DType dtype;
  double forward_and_gradients;
  double trajectory;
  Device device = {};
};

/// A tensor of golden numbers, f64 on the CPU, as the values of one on any device.
void assign(const Tensor& to, const Tensor& golden) {
  const Tensor place = host_place(to);
  cast(place, golden);
  copy(to, place);
}

double norm_of(const std::vector<double>& x) {
  double sum_sq = 0;
  for (const double element : x) {
    sum_sq += element * element;
  }
  return std::sqrt(sum_sq);
}

/// |got - expected| / |expected| in the Euclidean norm.
double norm_error(const Tensor& got, const Tensor& expected) {
  auto difference = test::values_of(got);
  const auto golden = test::values_of(expected);
  REQUIRE(difference.size() == golden.size());
  for (std::size_t i = 0; i < golden.size(); ++i) {
    difference[i] -= golden[i];
  }
  return norm_of(difference) / norm_of(golden);
}

// The loss does not depend on the biases of the keys, so their exact gradient is 0. What f32 leaves
// of it is rounding noise, which Adam divides by its own size: such elements may end anywhere
// within lr * steps of the golden value, and are set to it once that is checked.
void pin_elements_without_gradient(const Tensor& gradient, const Tensor& expected,
                                   const Tensor& of_device, double reach) {
  if (of_device.dtype() == DType::kF64) {
    return;
  }
  const Tensor value = on_host(of_device);
  const double* g = gradient.data<double>();
  const double largest = std::abs(*std::max_element(
      g, g + gradient.numel(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
  for (std::int64_t i = 0; i < gradient.numel(); ++i) {
    if (std::abs(g[i]) < 1e-12 * largest) {
      const double target = expected.data<double>()[i];
      CHECK(std::abs(value.data<float>()[i] - target) <= reach);
      value.data<float>()[i] = static_cast<float>(target);
    }
  }
  copy(of_device, value);
}

// Logits, loss, every gradient, then the five optimizer steps on the same batch.
void check_case(const test::GoldenCase& golden, const Tolerances& tolerances,
                test::GoldenErrors& errors) {
  const std::string device = tolerances.device.is_cpu() ? "" : " on " + tolerances.device.name();
  INFO("case " << golden.name() << " in " << dtype_name(tolerances.dtype) << device);
  const auto label = [&](const std::string& array) {
    return fmt::format("{} {}{} {}", golden.name(), dtype_name(tolerances.dtype), device, array);
  };
  Gpt model(config_of(golden));
  Context ctx(tolerances.device);
  ParameterStore& parameters = model.parameters();
  parameters.materialize(ctx.allocator(), tolerances.dtype);
  REQUIRE(golden.names("param/").size() == parameters.all().size());
  for (const auto& parameter : parameters.all()) {
    assign(parameter->value, golden.array("param/" + parameter->name));
  }
  const Tensor tokens = to_device(golden.array("input/idx"), ctx.allocator(), MemoryTag::kBatch);
  const Tensor targets =
      to_device(golden.array("input/targets"), ctx.allocator(), MemoryTag::kBatch);
  errors.check(label("logits"), model.logits(ctx, tokens), golden.array("output/logits"),
               tolerances.forward_and_gradients);

  const OptimizerConfig optimizer_config = optimizer_of(golden);
  const auto optimizer = make_optimizer(optimizer_config, ctx, parameters);
  const auto& facts = golden.manifest().at("optimizer");
  const Tensor losses = golden.array("trajectory/losses");
  const Tensor norms = golden.array("trajectory/grad_norms");
  for (std::int64_t step = 0; step < facts.at("steps").get<std::int64_t>(); ++step) {
    Tape tape;
    parameters.begin_gradients();
    const Context::Recording recording(ctx, &tape);
    const Tensor loss = model.loss(ctx, tokens, targets);
    tape.backward(ctx, loss);
    parameters.finish_gradients();
    const StepNumbers numbers = step_numbers(ctx, parameters, loss, optimizer_config.grad_clip);
    if (step == 0) {
      errors.check(label("loss"), loss, golden.array("output/loss"),
                   tolerances.forward_and_gradients);
      for (const auto& parameter : parameters.all()) {
        errors.check(label("grad/" + parameter->name), parameter->grad,
                     golden.array("grad/" + parameter->name), tolerances.forward_and_gradients);
      }
    }
    errors.check(label("trajectory/losses"), loss, losses.slice(step, step + 1),
                 tolerances.trajectory);
    errors.check(label("trajectory/grad_norms"), numbers.norm(), norms.slice(step, step + 1),
                 tolerances.trajectory);
    optimizer->step(ctx, parameters,
                    {.lr = facts.at("lr"), .grad_scale = numbers.factor(), .step = step + 1});
  }
  for (const auto& parameter : parameters.all()) {
    const Tensor expected = golden.array("after/" + parameter->name);
    const double reach = facts.at("lr").get<double>() * facts.at("steps").get<double>();
    pin_elements_without_gradient(golden.array("grad/" + parameter->name), expected,
                                  parameter->value, reach);
    errors.check(label("after/" + parameter->name), parameter->value, expected,
                 tolerances.trajectory);
  }
}

// Activations in bf16: 2 % of the norm of every array.
void check_bf16_case(const test::GoldenCase& golden, const Device& device) {
  INFO("case " << golden.name() << " in bf16 on " << device.name());
  constexpr double kTolerance = 0.02;
  Gpt model(config_of(golden));
  Context ctx(device);
  ParameterStore& parameters = model.parameters();
  parameters.materialize(ctx.allocator(), DType::kF32, DType::kBF16);
  for (const auto& parameter : parameters.all()) {
    assign(parameter->value, golden.array("param/" + parameter->name));
  }
  parameters.refresh_working();
  const Tensor tokens = to_device(golden.array("input/idx"), ctx.allocator(), MemoryTag::kBatch);
  const Tensor targets =
      to_device(golden.array("input/targets"), ctx.allocator(), MemoryTag::kBatch);
  CHECK(norm_error(model.logits(ctx, tokens), golden.array("output/logits")) <= kTolerance);
  Tape tape;
  parameters.begin_gradients();
  const Context::Recording recording(ctx, &tape);
  const Tensor loss = model.loss(ctx, tokens, targets);
  CHECK(loss.dtype() == DType::kF32);
  CHECK(norm_error(loss, golden.array("output/loss")) <= kTolerance);
  tape.backward(ctx, loss);
  parameters.finish_gradients();
  for (const auto& parameter : parameters.all()) {
    INFO(parameter->name);
    CHECK(parameter->grad.dtype() == DType::kF32);
    // That of the keys' biases is rounding noise around 0; compared with the whole bias it is
    // small.
    CHECK(norm_error(parameter->grad, golden.array("grad/" + parameter->name)) <= kTolerance);
  }
}

TEST_CASE("GPT agrees with its golden vectors", "[golden][gpt]") {
  test::GoldenErrors errors("gpt");
  for (const test::GoldenCase& golden : test::golden_cases("gpt")) {
    check_case(golden, {DType::kF64, 1e-10, 1e-10}, errors);
    check_case(golden, {DType::kF32, 1e-4, 1e-4}, errors);
    check_bf16_case(golden, Device{});
    for (const Device& device : test::cuda_devices()) {
      check_case(golden, {DType::kF32, 1e-4, 1e-4, device}, errors);
      check_bf16_case(golden, device);
    }
  }
}

}  // namespace
}  // namespace ghost
