#include "ops/optim/freeze.h"

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"
#include "ops/linear.h"
#include "ops/optim/optimizer.h"
#include "ops/sum.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

TEST_CASE("frozen parameters get no gradient and stay as they are", "[optim]") {
  for (const OptimizerKind kind : {OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
    Context ctx(Device{});
    ParameterStore store;
    Parameter& first = store.declare("a.weight", {4, 3}, Decay::kYes, {InitKind::kNormal, 1.0});
    Parameter& second = store.declare("b.weight", {2, 4}, Decay::kYes, {InitKind::kNormal, 1.0});
    freeze_parameters(store, {"a.*"});
    store.materialize(ctx.allocator(), DType::kF64);
    store.initialize(1);
    OptimizerConfig config{.kind = kind, .weight_decay = 0.1};
    const auto optimizer = make_optimizer(config, ctx, store);
    const auto before = test::values_of(first.value);
    const auto trained = test::values_of(second.value);
    Tape tape;
    {
      const Context::Recording recording(ctx, &tape);
      store.begin_gradients();
      const Tensor hidden = linear(ctx, test::normal({5, 3}, 3), ctx.use(first), {});
      CHECK_FALSE(tape.records(hidden));  // nothing is kept for it
      tape.backward(ctx, sum(ctx, linear(ctx, hidden, ctx.use(second), {})));
      store.finish_gradients();
    }
    for (const double gradient : test::values_of(first.grad)) {
      CHECK(gradient == 0);
    }
    optimizer->step(ctx, store, {.lr = 0.1, .step = 1});
    CHECK(test::values_of(first.value) == before);
    CHECK(test::values_of(second.value) != trained);
  }
}

TEST_CASE("freeze refuses globs that match nothing, or leave nothing", "[optim]") {
  ParameterStore store;
  store.declare("a.weight", {4, 3}, Decay::kYes, {});
  store.declare("b.weight", {4, 3}, Decay::kYes, {});
  CHECK_THROWS_WITH(freeze_parameters(store, {"a.*", "c.weight"}),
                    "optimizer.freeze.1 \"c.weight\" matches no parameter; the nearest is "
                    "a.weight");
  CHECK_THROWS_WITH(freeze_parameters(store, {"*"}),
                    "optimizer.freeze matches every parameter; expected one at least to train");
}

}  // namespace
}  // namespace ghost
