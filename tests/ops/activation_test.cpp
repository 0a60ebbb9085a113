#include "ops/activation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "engine/tensor/primitives.h"
#include "ops/linear.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::tensor_of;
using test::values_of;

using Function = Tensor (*)(Context&, const Tensor&);

const Function kFunctions[] = {
    [](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kErf); },
    [](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kTanh); },
    [](Context& ctx, const Tensor& x) { return silu(ctx, x); },
    [](Context& ctx, const Tensor& x) { return tanh(ctx, x); },
};

TEST_CASE("activations satisfy the op contract", "[ops]") {
  for (const Function function : kFunctions) {
    for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
      test::check_op({.inputs = {{normal(shape, 1)}},
                      .run = [&](Context& ctx, const Tensors& in) { return function(ctx, in[0]); },
                      .f32_tolerance = 1e-6});
    }
  }
}

// x Phi(x) with Phi(1) = 0.8413447460685429; the tanh form and silu from their formulas.
TEST_CASE("activations take known values", "[ops]") {
  Context ctx(Device{});
  const Tensor x = tensor_of({3}, {-1, 0, 1});
  const auto exact = values_of(gelu(ctx, x, GeluForm::kErf));
  CHECK(exact[0] == Approx(-0.15865525393145707).epsilon(1e-14));
  CHECK(exact[1] == 0);
  CHECK(exact[2] == Approx(0.8413447460685429).epsilon(1e-14));
  const auto approximate = values_of(gelu(ctx, x, GeluForm::kTanh));
  CHECK(approximate[2] == Approx(0.8411919906082768).epsilon(1e-14));
  const auto swish = values_of(silu(ctx, x));
  CHECK(swish[0] == Approx(-0.2689414213699951).epsilon(1e-14));
  CHECK(swish[2] == Approx(0.7310585786300049).epsilon(1e-14));
  const auto hyperbolic = values_of(tanh(ctx, x));
  CHECK(hyperbolic[0] == Approx(-0.7615941559557649).epsilon(1e-14));
  CHECK(hyperbolic[1] == 0);
}

// Enough elements for every lane, the remainder loop and several threads.
TEST_CASE("activations in f32 follow f64 from tail to tail", "[ops]") {
  Context ctx(Device{});
  constexpr std::int64_t kCount = 20011;
  const Tensor x = ctx.empty({kCount}, DType::kF32);
  const Tensor wide = ctx.empty({kCount}, DType::kF64);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x.data<float>()[i] = static_cast<float>(i - kCount / 2) * 2e-3F;
  }
  cast(wide, x);
  for (const Function function : kFunctions) {
    const auto single = values_of(function(ctx, x));
    const auto exact = values_of(function(ctx, wide));
    double largest = 0;
    for (std::size_t i = 0; i < single.size(); ++i) {
      largest =
          std::max(largest, std::abs(single[i] - exact[i]) / std::max(1.0, std::abs(exact[i])));
    }
    CHECK(largest <= 1e-6);
  }
}

TEST_CASE("activations hand NaN on", "[ops]") {
  Context ctx(Device{});
  const Tensor x = ctx.empty({37}, DType::kF32);
  fill(x, std::numeric_limits<double>::quiet_NaN());
  for (const Function function : kFunctions) {
    for (const double y : values_of(function(ctx, x))) {
      CHECK(std::isnan(y));
    }
  }
}

struct Form {
  Keep keep;
  double steps_per_one;
  double bytes_per_element;
};
const Form kForms[] = {{Keep::kDerivative8, 200, 1}, {Keep::kDerivative4, 11, 0.5}};

/// dx for `dy` [P, ...] under a plan that keeps activations in one way.
std::vector<double> pulled_back(Function function, Keep keep, const Tensor& x, const Tensor& dy,
                                std::int64_t step = 0) {
  Context ctx(Device{});
  ctx.begin_pass(/*seed=*/3, step);
  Tape tape(ResidualPlan({.rules = {{.role = "activation_input", .keep = keep}}}));
  const Context::Recording recording(ctx, &tape);
  const Tensor leaf = tape.watch(x);
  const Tensor y = function(ctx, leaf);
  return values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&leaf, 1))[0]);
}

// The store's grids reach from -0.135 to 1.14 and from -0.18 to 1.18.
TEST_CASE("derivatives of gelu and silu lie within -0.1290 and 1.1290", "[ops]") {
  constexpr std::int64_t kCount = 40001;
  const Tensor x = normal({kCount}, 1);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x.data<double>()[i] = static_cast<double>(i - kCount / 2) * 1e-3;
  }
  const Tensor ones = tensor_of({1, kCount}, std::vector<double>(kCount, 1.0));
  for (const Function function : std::span(kFunctions).first(3)) {
    const auto derivative = pulled_back(function, Keep::kExact, x, ones);
    const auto [low, high] = std::minmax_element(derivative.begin(), derivative.end());
    CHECK(*low > -0.1290);
    CHECK(*low < -0.0998);
    CHECK(*high < 1.1290);
    CHECK(*high > 1.0998);
  }
}

TEST_CASE("relu and tanh satisfy the op contract", "[ops]") {
  const Function functions[] = {[](Context& ctx, const Tensor& x) { return relu(ctx, x); },
                                [](Context& ctx, const Tensor& x) { return tanh(ctx, x); }};
  for (const Function function : functions) {
    for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
      test::check_op({.inputs = {{normal(shape, 1)}},
                      .run = [&](Context& ctx, const Tensors& in) { return function(ctx, in[0]); },
                      .f32_tolerance = 1e-6});
    }
  }
}

TEST_CASE("relu is 0 below 0, with no slope at 0", "[ops]") {
  Context ctx(Device{});
  const Tensor x = tensor_of({4}, {-2, 0, 3, std::numeric_limits<double>::quiet_NaN()});
  const auto y = values_of(relu(ctx, x));
  CHECK((y[0] == 0 && y[1] == 0 && y[2] == 3 && std::isnan(y[3])));
  const Tensor at = tensor_of({3}, {-2, 0, 3});
  const Tensor ones = tensor_of({1, 3}, {1, 1, 1});
  const Function function = [](Context& c, const Tensor& in) { return relu(c, in); };
  CHECK(pulled_back(function, Keep::kExact, at, ones) == std::vector<double>{0, 0, 1});
}

TEST_CASE("kept derivatives give cotangents within one step", "[ops]") {
  const Tensor x = normal({3, 333}, 1);
  const Tensor dy = normal({3, 3, 333}, 2);  // P = 3
  const auto dy_values = values_of(dy);
  for (const Function function : kFunctions) {
    const auto exact = pulled_back(function, Keep::kExact, x, dy);
    for (const Form& form : kForms) {
      INFO(enum_name(form.keep));
      const auto dx = pulled_back(function, form.keep, x, dy);
      double worst = 0;
      for (std::size_t i = 0; i < dx.size(); ++i) {
        worst = std::max(worst, std::abs(dx[i] - exact[i]) / std::abs(dy_values[i]));
      }
      CHECK(worst <= 1 / form.steps_per_one * (1 + 1e-5));
      CHECK(worst > 0.5 / form.steps_per_one);
      for (std::int64_t p = 0; p < 3; ++p) {
        const auto alone = pulled_back(function, form.keep, x, dy.slice(p, p + 1));
        CHECK(std::equal(alone.begin(), alone.end(), dx.begin() + p * 999));
      }
    }
  }
}

TEST_CASE("cotangents through kept derivatives are right on average", "[ops]") {
  const Tensor x = tensor_of({8}, {-6, -1.4, -0.5, 0, 0.3, 1.4, 2.2, 9});
  const Tensor ones = tensor_of({1, 8}, std::vector<double>(8, 1.0));
  constexpr int kDraws = 4000;
  for (const Function function : kFunctions) {
    const auto exact = pulled_back(function, Keep::kExact, x, ones);
    for (const Form& form : kForms) {
      INFO(enum_name(form.keep));
      std::vector<double> mean(8);
      for (int draw = 0; draw < kDraws; ++draw) {
        const auto dx = pulled_back(function, form.keep, x, ones, draw);
        for (std::size_t i = 0; i < mean.size(); ++i) {
          mean[i] += dx[i] / kDraws;
        }
      }
      const double margin = 5 * 0.5 / form.steps_per_one / std::sqrt(static_cast<double>(kDraws));
      for (std::size_t i = 0; i < mean.size(); ++i) {
        CHECK(mean[i] == Approx(exact[i]).epsilon(0).margin(margin));
      }
    }
  }
}

TEST_CASE("a kept derivative takes its bytes and changes no output", "[ops]") {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const Form& form : kForms) {
      Context ctx(Device{});
      const Tensor x = ctx.empty({64, 32}, dtype);
      fill(x, 0.7);
      Tape tape(ResidualPlan({.rules = {{.role = "activation_input", .keep = form.keep}}}));
      const Context::Recording recording(ctx, &tape);
      for (const Function function : kFunctions) {
        const std::int64_t before = ctx.meter().total_current();
        const Tensor y = function(ctx, tape.watch(x));
        CHECK(ctx.meter().total_current() - before - y.bytes() == 2048 * form.bytes_per_element);
        CHECK(values_of(y) == values_of(function(ctx, x)));
        CHECK(tape.nodes().back().kept()[0].keep == form.keep);
      }
    }
  }
}

TEST_CASE("what reads an activation without its input keeps it", "[ops]") {
  const auto keep_of_linear = [](Keep activation) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.rules = {{.role = "activation_input", .keep = activation},
                                      {.role = "linear_input", .keep = Keep::kRecompute}}}));
    const Context::Recording recording(ctx, &tape);
    const Tensor y = gelu(ctx, tape.watch(normal({3, 4}, 1)), GeluForm::kErf);
    linear(ctx, y, tape.watch(normal({5, 4}, 2)), {});
    return tape.nodes().back().kept()[0].keep;
  };
  CHECK(keep_of_linear(Keep::kInt8) == Keep::kRecompute);
  CHECK(keep_of_linear(Keep::kDerivative8) == Keep::kExact);
  CHECK(keep_of_linear(Keep::kDerivative4) == Keep::kExact);
}

TEST_CASE("activations make their output again from x", "[ops]") {
  Context ctx(Device{});
  for (const Function function : kFunctions) {
    Tape tape;
    const Tensor x = tape.watch(normal({3, 5}, 1));
    const Context::Recording recording(ctx, &tape);
    const Tensor y = function(ctx, x);
    const Node& node = tape.nodes().back();
    REQUIRE(node.op().is_cheap());
    CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
  }
}

}  // namespace
}  // namespace ghost
