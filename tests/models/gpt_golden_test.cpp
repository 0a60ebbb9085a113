#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "models/gpt/gpt.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/optimizer.h"
#include "tests/support/catch.h"
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
};

// The loss does not depend on the biases of the keys, so their exact gradient is 0. What f32 leaves
// of it is rounding noise, which Adam divides by its own size: such elements may end anywhere
// within lr * steps of the golden value, and are set to it once that is checked.
void pin_elements_without_gradient(const Tensor& gradient, const Tensor& expected,
                                   const Tensor& value, double reach) {
  if (value.dtype() == DType::kF64) {
    return;
  }
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
}

// Logits, loss, every gradient, then the five optimizer steps on the same batch.
void check_case(const test::GoldenCase& golden, const Tolerances& tolerances,
                test::GoldenErrors& errors) {
  INFO("case " << golden.name() << " in " << dtype_name(tolerances.dtype));
  const auto label = [&](const std::string& array) {
    return fmt::format("{} {} {}", golden.name(), dtype_name(tolerances.dtype), array);
  };
  Gpt model(config_of(golden));
  Context ctx(Device{});
  ParameterStore& parameters = model.parameters();
  parameters.materialize(ctx.allocator(), tolerances.dtype);
  REQUIRE(golden.names("param/").size() == parameters.all().size());
  for (const auto& parameter : parameters.all()) {
    cast(parameter->value, golden.array("param/" + parameter->name));
  }
  const Tensor tokens = golden.array("input/idx");
  const Tensor targets = golden.array("input/targets");
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
    const double norm = gradient_norm(ctx, parameters);
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
    errors.check(label("trajectory/grad_norms"), test::tensor_of({1}, {norm}),
                 norms.slice(step, step + 1), tolerances.trajectory);
    optimizer->step(ctx, parameters,
                    {.lr = facts.at("lr"),
                     .grad_scale = clip_factor(norm, optimizer_config.grad_clip),
                     .step = step + 1});
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

TEST_CASE("GPT agrees with its golden vectors", "[golden][gpt]") {
  test::GoldenErrors errors("gpt");
  for (const test::GoldenCase& golden : test::golden_cases("gpt")) {
    check_case(golden, {DType::kF64, 1e-10, 1e-10}, errors);
    check_case(golden, {DType::kF32, 1e-4, 1e-4}, errors);
  }
}

}  // namespace
}  // namespace ghost
