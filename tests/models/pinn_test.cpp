#include "models/pinn/pinn.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

struct TinyPinn {
  TinyPinn() : model({.widths = {7, 6}, .boundary_weight = 3}, /*boundary_points=*/2) {
    model.parameters().materialize(ctx.allocator(), DType::kF64);
    model.parameters().initialize(3);
    for (const auto& parameter : model.parameters().all()) {  // biases that matter
      if (parameter->shape.rank() == 1) {
        for (double& value : parameter->value.span<double>()) {
          value = 0.3;
        }
      }
    }
  }
  double u(double x, double y) {
    return test::values_of(model.solution(ctx, test::tensor_of({1, 2}, {x, y})))[0];
  }
  double loss(const Tensor& points, const Tensor& targets) {
    return test::values_of(model.loss(ctx, points, targets))[0];
  }

  Context ctx{Device{}};
  Pinn model;
};

// The residual of the network's own Laplacian, by differences of its values, is 0.
TEST_CASE("the Laplacian that is propagated is that of the network", "[models]") {
  TinyPinn tiny;
  constexpr double kStep = 1e-4;
  const std::vector<std::pair<double, double>> points = {{0.2, 0.4}, {0.9, 0.5}};
  std::vector<double> coordinates;
  std::vector<double> targets;
  for (const auto& [x, y] : points) {
    coordinates.insert(coordinates.end(), {x, y});
    targets.push_back(-(tiny.u(x + kStep, y) + tiny.u(x - kStep, y) + tiny.u(x, y + kStep) +
                        tiny.u(x, y - kStep) - 4 * tiny.u(x, y)) /
                      (kStep * kStep));
  }
  coordinates.insert(coordinates.end(), {0, 0.3, 1, 0.7});  // of the boundary, whose term is 0 too
  targets.insert(targets.end(), {tiny.u(0, 0.3), tiny.u(1, 0.7)});
  const Tensor xy = test::tensor_of({4, 2}, coordinates);
  CHECK(tiny.loss(xy, test::tensor_of({4}, targets)) < 1e-12);
  targets[0] += 1;
  targets[3] += 1;
  CHECK(tiny.loss(xy, test::tensor_of({4}, targets)) == Approx(0.5 + 3 * 0.5).epsilon(1e-5));
}

TEST_CASE("a PINN's gradients are those of its loss", "[models]") {
  TinyPinn tiny;
  const Tensor points = test::normal({6, 2}, 1);
  const Tensor targets = test::normal({6}, 2);
  ParameterStore& store = tiny.model.parameters();
  Tape tape;
  {
    const Context::Recording recording(tiny.ctx, &tape);
    store.begin_gradients();
    tape.backward(tiny.ctx, tiny.model.loss(tiny.ctx, points, targets));
    store.finish_gradients();
  }
  constexpr double kStep = 1e-5;
  for (const auto& parameter : store.all()) {
    INFO(parameter->name);
    for (std::int64_t i = 0; i < parameter->shape.numel(); ++i) {
      const double difference = test::central_difference(
          parameter->value.data<double>()[i], kStep, [&] { return tiny.loss(points, targets); });
      CHECK(parameter->grad.data<double>()[i] == Approx(difference).epsilon(1e-6).margin(1e-8));
    }
  }
}

TEST_CASE("a PINN's score is the relative L2 error", "[models]") {
  TinyPinn tiny;
  const Tensor points = test::tensor_of({2, 2}, {0.1, 0.2, 0.3, 0.4});
  const double a = tiny.u(0.1, 0.2);
  const double b = tiny.u(0.3, 0.4);
  const BatchScore score =
      tiny.model.score_batch(tiny.ctx, points, test::tensor_of({2}, {a + 0.3, b - 0.4}));
  CHECK(score.loss == Approx(0.125));
  const double norm = std::hypot(a + 0.3, b - 0.4);
  CHECK(tiny.model.score(score.numerator, score.denominator) == Approx(0.5 / norm));
}

}  // namespace
}  // namespace ghost
