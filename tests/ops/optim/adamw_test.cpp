#include "ops/optim/adamw.h"

#include <cmath>

#include "engine/tensor/primitives.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::SmallStore;
using test::values_of;

constexpr AdamWOptions kOptions{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};

// Algorithm 2 of arXiv:1711.05101 for one number.
class PlainAdamW {
 public:
  double step(double p, double g, double lr, double weight_decay) {
    ++t_;
    m_ = 0.9 * m_ + 0.1 * g;
    v_ = 0.95 * v_ + 0.05 * g * g;
    const double m_hat = m_ / (1 - std::pow(0.9, t_));
    const double v_hat = v_ / (1 - std::pow(0.95, t_));
    return p - lr * (m_hat / (std::sqrt(v_hat) + 1e-8) + weight_decay * p);
  }

 private:
  int t_ = 0;
  double m_ = 0;
  double v_ = 0;
};

TEST_CASE("adamw takes the two steps computed by hand", "[optim]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {1}, Decay::kYes, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  AdamW optimizer(kOptions, ctx, store);
  *p.grad.data<double>() = 0.5;
  optimizer.step(ctx, store, {.lr = 0.1, .step = 1});
  CHECK(*p.value.data<double>() == Approx(0.99 - 0.1 * 0.5 / (0.5 + 1e-8)).epsilon(1e-14));
  *p.grad.data<double>() = -0.5;
  optimizer.step(ctx, store, {.lr = 0.1, .step = 2});
  // m = -0.005, mhat = -0.005 / 0.19; v = 0.024375, vhat = 0.25
  CHECK(*p.value.data<double>() == Approx(0.89 * 0.99 + 0.1 * 0.005 / 0.19 / 0.5).epsilon(1e-8));
}

TEST_CASE("adamw agrees with a plain loop on both decay groups", "[optim]") {
  Context ctx(Device{});
  for (const std::int64_t size : {1, 33, 257}) {
    SmallStore small(ctx, DType::kF64, size);
    AdamW optimizer(kOptions, ctx, small.store);
    const Parameter& weight = *small.store.find("weight");
    const Parameter& bias = *small.store.find("bias");
    auto expected_weight = values_of(weight.value);
    auto expected_bias = values_of(bias.value);
    std::vector<PlainAdamW> plain_weight(expected_weight.size());
    std::vector<PlainAdamW> plain_bias(expected_bias.size());
    for (std::int64_t step = 1; step <= 5; ++step) {
      small.draw_gradients(static_cast<std::uint64_t>(step));
      const double lr = 0.01 * static_cast<double>(step);
      const double grad_scale = 0.25;
      for (std::size_t i = 0; i < expected_weight.size(); ++i) {
        const double g = grad_scale * values_of(weight.grad)[i];
        expected_weight[i] = plain_weight[i].step(expected_weight[i], g, lr, 0.1);
      }
      for (std::size_t i = 0; i < expected_bias.size(); ++i) {
        const double g = grad_scale * values_of(bias.grad)[i];
        expected_bias[i] = plain_bias[i].step(expected_bias[i], g, lr, /*weight_decay=*/0);
      }
      optimizer.step(ctx, small.store,
                     {.lr = lr, .grad_scale = test::tensor_of({1}, {grad_scale}), .step = step});
    }
    CHECK(test::relative_difference(weight.value, test::tensor_of({size}, expected_weight)) <=
          1e-14);
    CHECK(test::relative_difference(bias.value, test::tensor_of({3}, expected_bias)) <= 1e-14);
  }
}

TEST_CASE("adamw in f32 follows f64", "[optim]") {
  Context ctx(Device{});
  SmallStore single(ctx, DType::kF32, 1001);
  SmallStore exact(ctx, DType::kF64, 1001);
  AdamW single_optimizer(kOptions, ctx, single.store);
  AdamW exact_optimizer(kOptions, ctx, exact.store);
  for (std::int64_t step = 1; step <= 10; ++step) {
    single.draw_gradients(static_cast<std::uint64_t>(step));
    exact.draw_gradients(static_cast<std::uint64_t>(step));
    single_optimizer.step(ctx, single.store, {.lr = 0.01, .step = step});
    exact_optimizer.step(ctx, exact.store, {.lr = 0.01, .step = step});
  }
  for (const char* name : {"weight", "bias"}) {
    CHECK(test::relative_difference(single.store.find(name)->value,
                                    exact.store.find(name)->value) <= 1e-6);
  }
}

TEST_CASE("adamw names its state and meters it as optimizer memory", "[optim]") {
  for (const bool is_dry : {false, true}) {
    Context ctx(Device{.is_dry = is_dry});
    SmallStore small(ctx, DType::kF32, 64);
    AdamW optimizer(kOptions, ctx, small.store);
    const auto state = optimizer.state();
    REQUIRE(state.size() == 4);
    CHECK(state[0].name == "exp_avg.weight");
    CHECK(state[1].name == "exp_avg.bias");
    CHECK(state[2].name == "exp_avg_sq.weight");
    CHECK(state[3].name == "exp_avg_sq.bias");
    CHECK(state[0].tensor.shape() == Shape{64});
    CHECK(state[3].tensor.shape() == Shape{3});
    CHECK(ctx.meter().current(MemoryTag::kOptimizer) == 2 * (256 + 64));  // 12 bytes take 64
    optimizer.step(ctx, small.store, {.lr = 0.1, .step = 1});  // on a dry device: nothing
  }
}

TEST_CASE("adamw goes on from restored state", "[optim]") {
  Context ctx(Device{});
  SmallStore first(ctx, DType::kF32, 33);
  AdamW one(kOptions, ctx, first.store);
  first.draw_gradients(1);
  one.step(ctx, first.store, {.lr = 0.1, .step = 1});

  SmallStore second(ctx, DType::kF32, 33);
  AdamW other(kOptions, ctx, second.store);
  for (std::size_t i = 0; i < first.store.groups().size(); ++i) {
    const Tensor& to = second.store.groups()[i].values;
    const Tensor& from = first.store.groups()[i].values;
    std::copy_n(from.data<float>(), from.numel(), to.data<float>());
  }
  for (std::size_t i = 0; i < one.state().size(); ++i) {
    const Tensor from = one.state()[i].tensor;
    std::copy_n(from.data<float>(), from.numel(), other.state()[i].tensor.data<float>());
  }
  first.draw_gradients(2);
  second.draw_gradients(2);
  one.step(ctx, first.store, {.lr = 0.1, .step = 2});
  other.step(ctx, second.store, {.lr = 0.1, .step = 2});
  CHECK(values_of(first.store.find("weight")->value) ==
        values_of(second.store.find("weight")->value));
}

TEST_CASE("adamw changes nothing where the factor is NaN", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 33);
  AdamW optimizer(kOptions, ctx, small.store);
  small.draw_gradients(1);
  const Parameter& weight = *small.store.find("weight");
  const auto before = values_of(weight.value);
  optimizer.step(ctx, small.store,
                 {.lr = 0.1, .grad_scale = test::tensor_of({1}, {std::nan("")}), .step = 1});
  CHECK(values_of(weight.value) == before);
  for (const NamedTensor& state : optimizer.state()) {
    for (const double element : values_of(state.tensor)) {
      REQUIRE(element == 0);
    }
  }
}

TEST_CASE("optimizers write the working copy with the values", "[optim]") {
  Context ctx(Device{});
  for (const OptimizerKind kind : {OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
    ParameterStore store;
    Parameter& p = store.declare("p", {33}, Decay::kYes, {.kind = InitKind::kNormal, .std = 1});
    store.materialize(ctx.allocator(), DType::kF32, DType::kBF16);
    store.initialize(1);
    fill(p.grad, 0.25);
    const auto before = values_of(p.value);
    make_optimizer({.kind = kind, .momentum = 0.9}, ctx, store)
        ->step(ctx, store, {.lr = 0.1, .step = 1});
    CHECK(values_of(p.value) != before);
    const Tensor expected = ctx.empty({33}, DType::kBF16);
    cast(expected, p.value);
    CHECK(values_of(p.used()) == values_of(expected));
  }
}

TEST_CASE("adamw refuses update 0 and foreign parameters", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF64, 4);
  SmallStore other(ctx, DType::kF64, 5);
  AdamW optimizer(kOptions, ctx, small.store);
  CHECK_THROWS_WITH(optimizer.step(ctx, small.store, {.lr = 0.1, .step = 0}),
                    "adamw: update number 0; expected 1 or more");
  CHECK_THROWS_WITH(optimizer.step(ctx, other.store, {.lr = 0.1, .step = 1}),
                    "optimizer state exp_avg does not fit the parameters; it was made for others");
  ParameterStore bare;
  bare.declare("p", {1}, Decay::kYes, {});
  CHECK_THROWS_WITH(
      AdamW(kOptions, ctx, bare),
      "optimizer state exp_avg was asked for parameters without memory; materialize them first");
}

}  // namespace
}  // namespace ghost
