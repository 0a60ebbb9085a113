#include "ops/optim/sgd.h"

#include "engine/tensor/primitives.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::SmallStore;
using test::values_of;

// Two updates of p = 1 with gradients 0.5 and -0.25, lr 0.1.
double after_two_steps(const SgdOptions& options, Decay decay = Decay::kYes) {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {1}, decay, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  Sgd optimizer(options, ctx, store);
  *p.grad.data<double>() = 0.5;
  optimizer.step(ctx, store, {.lr = 0.1, .step = 1});
  *p.grad.data<double>() = -0.25;
  optimizer.step(ctx, store, {.lr = 0.1, .step = 2});
  return *p.value.data<double>();
}

TEST_CASE("sgd takes the steps computed by hand", "[optim]") {
  CHECK(after_two_steps({}) == Approx(1 - 0.05 + 0.025).epsilon(1e-14));
  // m = 0.5, then 0.45 - 0.25 = 0.2
  CHECK(after_two_steps({.momentum = 0.9}) == Approx(1 - 0.05 - 0.02).epsilon(1e-14));
  // 0.5 + 0.9 * 0.5 = 0.95, then -0.25 + 0.9 * 0.2 = -0.07
  CHECK(after_two_steps({.momentum = 0.9, .is_nesterov = true}) ==
        Approx(1 - 0.095 + 0.007).epsilon(1e-14));
  // g = 0.5 + 0.1 * 1 = 0.6, p = 0.94; g = -0.25 + 0.094
  CHECK(after_two_steps({.weight_decay = 0.1}) == Approx(0.94 + 0.0156).epsilon(1e-14));
  // m = 0.6, p = 0.94; m = 0.54 - 0.156
  CHECK(after_two_steps({.momentum = 0.9, .weight_decay = 0.1}) ==
        Approx(0.94 - 0.0384).epsilon(1e-14));
  CHECK(after_two_steps({.weight_decay = 0.1}, Decay::kNo) == after_two_steps({}));
}

TEST_CASE("sgd agrees with a plain loop for odd sizes", "[optim]") {
  Context ctx(Device{});
  for (const bool is_nesterov : {false, true}) {
    for (const std::int64_t size : {1, 33, 257, 40001}) {
      SmallStore small(ctx, DType::kF64, size);
      Sgd optimizer({.momentum = 0.9, .is_nesterov = is_nesterov, .weight_decay = 0.01}, ctx,
                    small.store);
      const Parameter& weight = *small.store.find("weight");
      auto expected = values_of(weight.value);
      std::vector<double> average(expected.size());
      for (std::int64_t step = 1; step <= 3; ++step) {
        small.draw_gradients(static_cast<std::uint64_t>(step));
        const auto grads = values_of(weight.grad);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          const double g = 0.5 * grads[i] + 0.01 * expected[i];
          average[i] = 0.9 * average[i] + g;
          expected[i] -= 0.1 * (is_nesterov ? g + 0.9 * average[i] : average[i]);
        }
        optimizer.step(ctx, small.store,
                       {.lr = 0.1, .grad_scale = test::tensor_of({1}, {0.5}), .step = step});
      }
      CHECK(test::relative_difference(weight.value, test::tensor_of({size}, expected)) <= 1e-14);
    }
  }
}

TEST_CASE("sgd passes over rows at rest and comes back to them", "[optim]") {
  // A gradient in every fifth block of 64 only, in every second update only.
  Context ctx(Device{});
  constexpr std::int64_t kSize = 40001;
  SmallStore small(ctx, DType::kF64, kSize);
  Sgd optimizer({.momentum = 0.9}, ctx, small.store);
  const Parameter& weight = *small.store.find("weight");
  auto expected = values_of(weight.value);
  std::vector<double> average(expected.size());
  for (std::int64_t step = 1; step <= 4; ++step) {
    small.draw_gradients(static_cast<std::uint64_t>(step));
    double* grads = weight.grad.data<double>();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (i / 64 % 5 != 0 || step % 2 == 1) {
        grads[i] = 0;
      }
      average[i] = 0.9 * average[i] + grads[i];
      expected[i] -= 0.1 * average[i];
    }
    optimizer.step(ctx, small.store, {.lr = 0.1, .step = step});
  }
  CHECK(test::relative_difference(weight.value, test::tensor_of({kSize}, expected)) <= 1e-14);
}

TEST_CASE("momentum that nothing feeds ends at zero, not at the smallest number", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 256);
  Sgd optimizer({.momentum = 0.5}, ctx, small.store);
  small.draw_gradients(1);
  optimizer.step(ctx, small.store, {.lr = 0.1, .step = 1});
  for (const auto& parameter : small.store.all()) {
    fill_zero(parameter->grad);
  }
  for (std::int64_t step = 2; step <= 160; ++step) {
    optimizer.step(ctx, small.store, {.lr = 0.1, .step = step});
  }
  CHECK(values_of(optimizer.state()[0].tensor) == std::vector<double>(256, 0.0));
}

TEST_CASE("sgd in f32 follows f64", "[optim]") {
  Context ctx(Device{});
  SmallStore single(ctx, DType::kF32, 100);
  SmallStore exact(ctx, DType::kF64, 100);
  const SgdOptions options{.momentum = 0.9};
  Sgd single_optimizer(options, ctx, single.store);
  Sgd exact_optimizer(options, ctx, exact.store);
  for (std::int64_t step = 1; step <= 10; ++step) {
    single.draw_gradients(static_cast<std::uint64_t>(step));
    exact.draw_gradients(static_cast<std::uint64_t>(step));
    single_optimizer.step(ctx, single.store, {.lr = 0.01, .step = step});
    exact_optimizer.step(ctx, exact.store, {.lr = 0.01, .step = step});
  }
  CHECK(test::relative_difference(single.store.find("weight")->value,
                                  exact.store.find("weight")->value) <= 1e-6);
}

TEST_CASE("sgd has state only with momentum", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 16);
  CHECK(Sgd({}, ctx, small.store).state().empty());
  CHECK(ctx.meter().current(MemoryTag::kOptimizer) == 0);
  Sgd with_momentum({.momentum = 0.9}, ctx, small.store);
  REQUIRE(with_momentum.state().size() == 2);
  CHECK(with_momentum.state()[0].name == "momentum.weight");
  CHECK(with_momentum.state()[1].name == "momentum.bias");
  CHECK(ctx.meter().current(MemoryTag::kOptimizer) == 128);
}

TEST_CASE("sgd refuses Nesterov without momentum", "[optim]") {
  Context ctx(Device{});
  const ParameterStore store;
  CHECK_THROWS_WITH(Sgd({.is_nesterov = true}, ctx, store),
                    "sgd: nesterov with momentum 0; expected a positive momentum");
}

}  // namespace
}  // namespace ghost
