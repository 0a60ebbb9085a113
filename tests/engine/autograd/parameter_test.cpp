#include "engine/autograd/parameter.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd/context.h"
#include "engine/autograd/resident_parameters.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::values_of;

struct Store {
  Store() {
    weight =
        &store.declare("weight", {20, 30}, Decay::kYes, {.kind = InitKind::kNormal, .std = 0.02});
    gain = &store.declare("gain", {5}, Decay::kNo, {.kind = InitKind::kOnes});
    head = &store.declare("head", {7}, Decay::kYes, {.kind = InitKind::kNormal, .std = 0.02});
    bias = &store.declare("bias", {3}, Decay::kNo, {.kind = InitKind::kZeros});
  }

  ParameterStore store;
  Parameter* weight;
  Parameter* gain;
  Parameter* head;
  Parameter* bias;
};

TEST_CASE("parameters lie in one flat buffer a decay group", "[autograd]") {
  const auto allocator = make_allocator(Device{});
  Store s;
  CHECK(s.store.num_elements() == 615);
  CHECK_FALSE(s.store.is_materialized());
  CHECK(allocator->meter().total_current() == 0);
  s.store.materialize(allocator, DType::kF32);
  CHECK(s.store.is_materialized());
  REQUIRE(s.store.groups().size() == 2);
  const ParameterGroup& decay = s.store.groups()[0];
  CHECK(decay.decay == Decay::kYes);
  CHECK(decay.values.shape() == Shape{607});
  CHECK(decay.members == std::vector<Parameter*>{s.weight, s.head});
  CHECK(s.head->value.data<float>() == decay.values.data<float>() + 600);
  CHECK(s.head->grad.data<float>() == decay.grads.data<float>() + 600);
  CHECK(s.weight->value.shape() == Shape{20, 30});
  CHECK(s.store.groups()[1].values.shape() == Shape{8});
  const std::int64_t bytes = metered_bytes(607 * 4) + metered_bytes(8 * 4);
  CHECK(allocator->meter().current(MemoryTag::kParameters) == bytes);
  CHECK(allocator->meter().current(MemoryTag::kGradients) == bytes);
}

TEST_CASE("parameters start as declared", "[autograd]") {
  const auto allocator = make_allocator(Device{});
  Store s;
  s.store.materialize(allocator, DType::kF64);
  s.store.initialize(/*seed=*/3);
  CHECK(values_of(s.gain->value) == std::vector<double>(5, 1.0));
  CHECK(values_of(s.bias->value) == std::vector<double>(3, 0.0));
  double sum_sq = 0;
  for (const double w : values_of(s.weight->value)) {
    sum_sq += w * w;
  }
  CHECK(std::sqrt(sum_sq / 600) == Approx(0.02).epsilon(0.15));  // five standard errors
}

TEST_CASE("a truncated normal ends at two deviations and keeps its own", "[autograd]") {
  ParameterStore store;
  const Parameter& weight = store.declare("weight", {101, 499}, Decay::kYes,
                                          {.kind = InitKind::kTruncatedNormal, .std = 0.5});
  store.materialize(make_allocator(Device{}), DType::kF64);
  store.initialize(/*seed=*/3);
  double sum = 0;
  double sum_sq = 0;
  double largest = 0;
  std::int64_t beyond = 0;
  const auto values = values_of(weight.value);
  for (const double w : values) {
    sum += w;
    sum_sq += w * w;
    largest = std::max(largest, std::abs(w));
    beyond += std::abs(w) > 1.5 * 0.5 / 0.87962566 ? 1 : 0;
  }
  const auto n = static_cast<double>(values.size());
  CHECK(std::abs(sum / n) < 5 * 0.5 / std::sqrt(n));
  CHECK(std::sqrt(sum_sq / n) == Approx(0.5).epsilon(0.01));
  CHECK(largest <= 2 * 0.5 / 0.87962566 * (1 + 1e-6));
  // P(1.5 < |z| < 2) / P(|z| < 2) for a standard normal z: 0.0881 / 0.9545
  CHECK(static_cast<double>(beyond) / n == Approx(0.0923).epsilon(0.06));
}

TEST_CASE("kinds with bounds fill them evenly", "[autograd]") {
  struct Kind {
    Init init;
    double (*even)(double);  // what makes the values uniform again
    double low;
    double high;
  };
  const Kind kKinds[] = {
      {{.kind = InitKind::kUniform, .low = -2, .high = 3}, [](double x) { return x; }, -2, 3},
      {{.kind = InitKind::kLogOfUniform, .low = 1, .high = 16},
       [](double x) { return std::exp(x); },
       1,
       16},
      {{.kind = InitKind::kInverseSoftplus, .low = 0.001, .high = 0.1},
       [](double x) { return std::log(std::log1p(std::exp(x))); },
       std::log(0.001),
       std::log(0.1)}};
  for (const Kind& kind : kKinds) {
    ParameterStore store;
    const Parameter& parameter = store.declare("p", {4001}, Decay::kNo, kind.init);
    store.materialize(make_allocator(Device{}), DType::kF64);
    store.initialize(/*seed=*/3);
    double mean = 0;
    double square = 0;
    for (const double value : values_of(parameter.value)) {
      const double share = (kind.even(value) - kind.low) / (kind.high - kind.low);
      CHECK(share >= 0);
      CHECK(share <= 1);
      mean += share / 4001;
      square += share * share / 4001;
    }
    CHECK(mean == Approx(1.0 / 2).epsilon(0.04));  // four standard errors
    CHECK(square == Approx(1.0 / 3).epsilon(0.06));
  }
  ParameterStore store;
  const Parameter& constant =
      store.declare("p", {3}, Decay::kNo, {.kind = InitKind::kUniform, .low = 0.3, .high = 0.3});
  store.materialize(make_allocator(Device{}), DType::kF64);
  store.initialize(/*seed=*/3);
  CHECK(values_of(constant.value) == std::vector<double>(3, 0.3));
}

TEST_CASE("initial values are a function of seed and parameter", "[autograd]") {
  const auto allocator = make_allocator(Device{});
  Store a;
  Store b;
  for (Store* s : {&a, &b}) {
    s->store.materialize(allocator, DType::kF64);
    s->store.initialize(/*seed=*/3);
  }
  CHECK(values_of(a.weight->value) == values_of(b.weight->value));
  CHECK(values_of(a.weight->value)[0] != values_of(a.head->value)[0]);
  b.store.initialize(/*seed=*/4);
  CHECK(values_of(a.weight->value) != values_of(b.weight->value));

  Store single;  // the same numbers in f32
  single.store.materialize(allocator, DType::kF32);
  single.store.initialize(/*seed=*/3);
  CHECK(test::relative_difference(single.weight->value, a.weight->value) < 1e-8);
}

TEST_CASE("parameters are found by name", "[autograd]") {
  Store s;
  CHECK(s.store.find("head") == s.head);
  CHECK(s.store.find("tail") == nullptr);
  CHECK(s.store.all().size() == 4);
}

TEST_CASE("unreached parameters end a step with zero gradients", "[autograd]") {
  const auto allocator = make_allocator(Device{});
  Store s;
  s.store.materialize(allocator, DType::kF64);
  for (const auto& parameter : s.store.all()) {
    std::fill_n(parameter->grad.data<double>(), parameter->grad.numel(), 5.0);
  }
  s.store.begin_gradients();
  CHECK_FALSE(s.gain->claim_grad());  // first: overwrite
  CHECK(s.gain->claim_grad());        // then: add
  s.store.finish_gradients();
  CHECK(values_of(s.gain->grad) == std::vector<double>(5, 5.0));
  CHECK(values_of(s.bias->grad) == std::vector<double>(3, 0.0));
}

TEST_CASE("a part of a model starts as in the whole", "[autograd]") {
  Context ctx(Device{});
  Store whole;
  whole.store.materialize(ctx.allocator(), DType::kF64);
  whole.store.initialize(3);
  Store part;
  materialize_residents(
      part.store, [&](const Parameter& p) { return &p == part.gain || &p == part.head; },
      ctx.allocator(), DType::kF64);
  part.store.initialize(3);
  CHECK_FALSE(is_resident(*part.weight));
  CHECK_FALSE(is_resident(*part.bias));
  REQUIRE(part.store.groups().size() == 2);
  CHECK(part.store.groups()[0].values.shape() == Shape{7});
  CHECK(part.head->offset == 0);
  CHECK(values_of(part.head->value) == values_of(whole.head->value));
  part.store.begin_gradients();
  part.store.finish_gradients();
  CHECK(values_of(part.gain->grad) == std::vector<double>(5, 0.0));
  CHECK_FALSE(part.weight->grad.defined());
  CHECK(part.weight->shape == Shape{20, 30});
}

TEST_CASE("a dry store has shapes and bytes only", "[autograd]") {
  const auto allocator = make_allocator({.is_dry = true});
  Store s;
  s.store.materialize(allocator, DType::kF32);
  s.store.initialize(1);
  s.store.begin_gradients();
  s.store.finish_gradients();
  CHECK(s.weight->value.shape() == Shape{20, 30});
  CHECK(allocator->meter().current(MemoryTag::kParameters) ==
        metered_bytes(607 * 4) + metered_bytes(8 * 4));
}

TEST_CASE("the store refuses repeated names and late parameters", "[autograd]") {
  Store s;
  CHECK_THROWS_WITH(s.store.declare("head", {1}, Decay::kNo, {}),
                    "parameter head is declared twice");
  s.store.materialize(make_allocator(Device{}), DType::kF32);
  CHECK_THROWS_WITH(s.store.declare("late", {1}, Decay::kNo, {}),
                    "parameter late is declared after the store was laid out");
}

TEST_CASE("ops are handed a working copy in the dtype of activations", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {5, 7}, Decay::kYes, {.kind = InitKind::kNormal, .std = 1});
  Parameter& q = store.declare("q", {3}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF32, DType::kBF16);
  store.initialize(1);
  CHECK(ctx.meter().current(MemoryTag::kParameters) == 192 + 128 + 64 + 64);  // f32 and bf16
  CHECK(p.grad.dtype() == DType::kF32);
  CHECK(p.used().dtype() == DType::kBF16);
  CHECK(p.used().shape() == p.shape);
  CHECK(ctx.use(p).raw() == p.working.raw());
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  CHECK(ctx.use(p).raw() == p.working.raw());
  CHECK(test::values_of(q.used()) == std::vector<double>(3, 1.0));

  const Tensor rounded = ctx.empty(p.shape, DType::kBF16);
  cast(rounded, p.value);
  CHECK(test::values_of(p.used()) == test::values_of(rounded));
  fill(p.value, 0.5);
  CHECK(test::values_of(p.used()) == test::values_of(rounded));
  store.refresh_working();
  CHECK(test::values_of(p.used()) == std::vector<double>(35, 0.5));
}

TEST_CASE("ops are handed the value of what is never in the dtype of activations", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {5}, Decay::kYes, {.kind = InitKind::kOnes});
  Parameter& q = store.declare("q", {3}, Decay::kYes, {.kind = InitKind::kOnes}, Precision::kValue);
  store.materialize(ctx.allocator(), DType::kF32, DType::kBF16);
  store.initialize(1);
  CHECK(p.used().dtype() == DType::kBF16);
  CHECK_FALSE(q.working.defined());
  CHECK(ctx.use(q).raw() == q.value.raw());
  fill(q.value, 1.001);
  store.refresh_working();
  CHECK(test::values_of(q.used())[0] == static_cast<double>(1.001F));
}

TEST_CASE("without another dtype ops are handed the values", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {5}, Decay::kYes, {});
  store.materialize(ctx.allocator(), DType::kF32, DType::kF32);
  CHECK_FALSE(p.working.defined());
  CHECK(p.used().raw() == p.value.raw());
  store.refresh_working();  // does nothing
}

}  // namespace
}  // namespace ghost
