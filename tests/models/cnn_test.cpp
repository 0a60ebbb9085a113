#include "models/cnn/cnn.h"

#include "engine/config/check_range.h"
#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

CnnConfig small_config() {
  return {.channels = {3, 4},
          .kernel = 3,
          .pooling = Pooling::kAverage,
          .dense = {.widths = {5}, .activation = DenseActivation::kTanh}};
}

TEST_CASE("a CNN's gradients are those of its loss", "[models]") {
  Context ctx(Device{});
  Cnn model(small_config(), {2, 5, 4}, 3);
  ParameterStore& store = model.parameters();
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(3);
  const Tensor images = test::normal({4, 2, 5, 4}, 1);
  const Tensor labels = test::tokens_of({4}, {0, 2, 1, 1});
  const auto loss = [&] { return test::values_of(model.loss(ctx, images, labels))[0]; };
  Tape tape;
  {
    const Context::Recording recording(ctx, &tape);
    store.begin_gradients();
    tape.backward(ctx, model.loss(ctx, images, labels));
    store.finish_gradients();
  }
  constexpr double kStep = 1e-5;
  for (const auto& parameter : store.all()) {
    INFO(parameter->name);
    for (std::int64_t i = 0; i < parameter->shape.numel(); i += 3) {
      const double difference = test::central_difference(parameter->value.data<double>()[i], kStep,
                                                         [&] { return loss(); });
      CHECK(parameter->grad.data<double>()[i] == Approx(difference).epsilon(1e-5).margin(1e-8));
    }
  }
}

TEST_CASE("a CNN has the parameters and FLOPs of its sizes", "[models]") {
  const Cnn model(small_config(), {2, 5, 4}, 3);
  const auto& parameters = static_cast<const Model&>(model).parameters();
  CHECK(parameters.find("convs.1.weight")->shape == Shape{4, 3, 3, 3});
  CHECK(parameters.find("layers.0.weight")->shape == Shape{5, 4});
  CHECK(model.num_layers() == 4);
  CHECK(model.flops_per_item(1) == 6.0 * (54 * 20 + 108 * 4 + 20 + 15));
}

TEST_CASE("a CNN refuses what it cannot be", "[models]") {
  CnnConfig config = small_config();
  config.channels = {3, 4, 5};
  CHECK_THROWS_WITH(Cnn(config, {2, 5, 4}, 3),
                    "model.channels has 3 convolutions; images of [2,5,4] can be halved 2 times");
  config.kernel = 2;
  CHECK_THROWS_WITH(config.validate("model."),
                    "model.kernel is 2; expected an odd positive integer");
}

}  // namespace
}  // namespace ghost
