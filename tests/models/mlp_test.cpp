#include "models/mlp/mlp.h"

#include <cmath>

#include "engine/config/check_range.h"
#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

struct TinyMlp {
  explicit TinyMlp(const DenseConfig& config) : model(config, {1, 2, 3}, 4) {
    model.parameters().materialize(ctx.allocator(), DType::kF64);
    model.parameters().initialize(3);
  }
  double loss() { return test::values_of(model.loss(ctx, images, labels))[0]; }

  Context ctx{Device{}};
  Mlp model;
  Tensor images = test::normal({5, 1, 2, 3}, 1);
  Tensor labels = test::tokens_of({5}, {0, 3, 1, 1, 2});
};

TEST_CASE("an MLP's gradients are those of its loss", "[models]") {
  for (const DenseActivation activation :
       {DenseActivation::kTanh, DenseActivation::kRelu, DenseActivation::kGelu}) {
    INFO(enum_name(activation));
    TinyMlp tiny({.widths = {7, 3}, .activation = activation});
    ParameterStore& store = tiny.model.parameters();
    Tape tape;
    {
      const Context::Recording recording(tiny.ctx, &tape);
      store.begin_gradients();
      tape.backward(tiny.ctx, tiny.model.loss(tiny.ctx, tiny.images, tiny.labels));
      store.finish_gradients();
    }
    constexpr double kStep = 1e-5;
    for (const auto& parameter : store.all()) {
      INFO(parameter->name);
      for (std::int64_t i = 0; i < parameter->shape.numel(); ++i) {
        const double difference = test::central_difference(parameter->value.data<double>()[i],
                                                           kStep, [&] { return tiny.loss(); });
        CHECK(parameter->grad.data<double>()[i] == Approx(difference).epsilon(1e-6).margin(1e-9));
      }
    }
  }
}

TEST_CASE("an MLP has the parameters and FLOPs of its widths", "[models]") {
  const Mlp model({.widths = {512, 512, 512}}, {1, 28, 28}, 10);
  const auto& parameters = static_cast<const Model&>(model).parameters();
  CHECK(parameters.all().size() == 8);
  CHECK(parameters.find("layers.0.weight")->shape == Shape{512, 784});
  CHECK(parameters.find("layers.3.bias")->shape == Shape{10});
  CHECK(model.flops_per_item(1) == 6.0 * (784 * 512 + 2 * 512 * 512 + 512 * 10));
  CHECK(model.num_layers() == 4);
  const Mlp plain({.widths = {5}, .bias = false}, {1, 2, 2}, 10);
  CHECK(static_cast<const Model&>(plain).parameters().all().size() == 2);
}

double deviation(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) {
    squares += value * value;
  }
  return std::sqrt(squares / static_cast<double>(values.size()));
}

TEST_CASE("dense layers start as their rule says", "[models]") {
  const auto weights_of = [](const DenseConfig& config) {
    Context ctx(Device{});
    Mlp model(config, {1, 10, 10}, 4);
    model.parameters().materialize(ctx.allocator(), DType::kF64);
    model.parameters().initialize(1);
    return test::values_of(model.parameters().find("layers.0.weight")->value);
  };
  DenseConfig config{.widths = {300}, .activation = DenseActivation::kTanh};
  CHECK(deviation(weights_of(config)) == Approx(std::sqrt(2.0 / 400)).epsilon(0.02));
  config.init_scale = 3;
  CHECK(deviation(weights_of(config)) == Approx(3 * std::sqrt(2.0 / 400)).epsilon(0.02));
  config = {.widths = {300}, .activation = DenseActivation::kRelu};
  CHECK(deviation(weights_of(config)) == Approx(std::sqrt(2.0 / 100)).epsilon(0.02));
  config.init = DenseInit::kPytorch;
  const auto uniform = weights_of(config);
  CHECK(*std::max_element(uniform.begin(), uniform.end()) < 0.1);
  CHECK(deviation(uniform) == Approx(0.1 / std::sqrt(3.0)).epsilon(0.02));
}

TEST_CASE("biases of hidden layers start where the config says", "[models]") {
  Context ctx(Device{});
  Mlp model({.widths = {3}, .bias_init = -1}, {1, 2, 2}, 2);
  model.parameters().materialize(ctx.allocator(), DType::kF64);
  model.parameters().initialize(1);
  CHECK(test::values_of(model.parameters().find("layers.0.bias")->value) ==
        std::vector<double>(3, -1));
  CHECK(test::values_of(model.parameters().find("layers.1.bias")->value) ==
        std::vector<double>(2, 0));
}

TEST_CASE("an evaluation counts the samples that are right", "[models]") {
  TinyMlp tiny({.widths = {7}});
  const Tensor logits = tiny.model.logits(tiny.ctx, tiny.images);
  const auto values = test::values_of(logits);
  double hits = 0;
  for (std::size_t row = 0; row < 5; ++row) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(4 * row);
    hits += std::max_element(begin, begin + 4) - begin == tiny.labels.data<std::int32_t>()[row];
  }
  const BatchScore score = tiny.model.score_batch(tiny.ctx, tiny.images, tiny.labels);
  CHECK(score.numerator == hits);
  CHECK(score.denominator == 5);
  CHECK(score.rows == 5);
  CHECK(score.loss == tiny.loss());
}

TEST_CASE("dense layers refuse what they cannot be", "[models]") {
  CHECK_THROWS_WITH((DenseConfig{.widths = {4, 0}}.validate("model.")),
                    "model.widths is \"[4, 0]\"; expected a list of positive integers");
  CHECK_THROWS_WITH((DenseConfig{.init_scale = 0}.validate("model.")),
                    "model.init_scale is 0; expected a positive number");
  CHECK_THROWS_WITH((DenseConfig{.bias = false, .bias_init = 1}.validate("model.")),
                    "model.bias_init is 1; expected 0 where there are no biases");
}

}  // namespace
}  // namespace ghost
