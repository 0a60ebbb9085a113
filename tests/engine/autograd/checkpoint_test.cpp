#include "engine/autograd/checkpoint.h"

#include "tests/engine/autograd/toy_ops.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::add;
using test::noise;
using test::square;
using test::values_of;
using test::weigh;

constexpr std::int64_t kSize = 256;
constexpr std::int64_t kBytes = kSize * 8;

// Two blocks with a weight, noise and a residual connection each.
struct Model {
  explicit Model(Context& ctx) {
    for (const char* name : {"blocks.0.w", "blocks.1.w"}) {
      weights.push_back(
          &store.declare(name, {kSize}, Decay::kYes, {.kind = InitKind::kNormal, .std = 1}));
    }
    store.materialize(ctx.allocator(), DType::kF64);
    store.initialize(1);
  }

  Tensor block(Context& ctx, std::size_t i, const Tensor& x) {
    const Context::Scope scope(ctx, fmt::format("blocks.{}", i));
    return checkpoint(ctx, x, [this, i](Context& inner, const Tensor& h) {
      const Context::Scope mlp(inner, "mlp");
      const Tensor dropped = noise(inner, weigh(inner, h, inner.use(*weights[i])));
      return add(inner, h, noise(inner, square(inner, dropped)));
    });
  }

  Tensor forward(Context& ctx, const Tensor& x) { return block(ctx, 1, block(ctx, 0, x)); }

  ParameterStore store;
  std::vector<Parameter*> weights;
};

struct Result {
  std::vector<double> output;
  std::vector<double> dx;
  std::vector<std::vector<double>> gradients;
  std::int64_t residual_bytes;

  bool operator==(const Result& other) const {
    return output == other.output && dx == other.dx && gradients == other.gradients;
  }
};

Result run(const ResidualsConfig& config) {
  Context ctx(Device{});
  Model model(ctx);
  Tape tape{ResidualPlan(config)};
  ctx.begin_pass(/*seed=*/9, /*step=*/2);
  model.store.begin_gradients();
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(test::normal({kSize}, 1));
  const Tensor y = noise(ctx, model.forward(ctx, x));
  const std::int64_t site = ctx.site();
  Result result{.output = values_of(y)};
  result.residual_bytes = ctx.meter().current(MemoryTag::kResiduals);
  const Tensor dy = test::normal({1, kSize}, 2);
  result.dx = values_of(tape.pull(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1),
                                  Tape::Parameters::kAccumulate)[0]);
  for (const Parameter* weight : model.weights) {
    result.gradients.push_back(values_of(weight->grad));
  }
  CHECK(ctx.meter().current(MemoryTag::kResiduals) == 0);
  CHECK(ctx.site() == site);
  CHECK(ctx.module().empty());
  return result;
}

TEST_CASE("recomputed blocks give the same bits", "[autograd]") {
  const Result exact = run({});
  const Result again = run({.recompute = Recompute::kBlock});
  CHECK(again == exact);
  // Exact: what both squares and the second weigh read (the first reads x, which lies on another
  // allocator). Block: the second block's input.
  CHECK(exact.residual_bytes == 3 * kBytes);
  CHECK(again.residual_bytes == kBytes);
}

TEST_CASE("a checkpoint acts at its own level only", "[autograd]") {
  Context ctx(Device{});
  const Tensor data = test::normal({kSize}, 1);
  for (const Recompute recompute :
       {Recompute::kNone, Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
    for (const Recompute level : {Recompute::kAttention, Recompute::kBlock}) {
      Tape tape(ResidualPlan({.recompute = recompute}));
      const Context::Recording recording(ctx, &tape);
      checkpoint(
          ctx, tape.watch(data), [](Context& inner, const Tensor& h) { return square(inner, h); },
          level);
      CHECK((tape.nodes().back().op().name() == "checkpoint") == (recompute == level));
    }
  }
}

/// h + 1 as the end of a block: counts how often its kernel runs.
class Final final : public Op {
 public:
  explicit Final(int* count) : count_(count) {}
  std::string_view name() const override { return "final"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& h = node.input(0);
    if (!ctx.needs_outputs()) {
      return {ctx.empty_like(h)};
    }
    ++*count_;
    return {test::build(ctx, h.shape(), h.dtype(), [&](auto i) { return test::at(h, i) + 1; })};
  }
  void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& pullback) const override {
    pullback.give(0, pullback.dy());
  }

 private:
  int* count_;
};

// Two checkpoints of two stages each, alone or as the two halves of a third.
TEST_CASE("the last stage of a block that runs again computes nothing", "[autograd]") {
  std::vector<double> expected;
  for (const bool is_nested : {false, true}) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kBlock}) {
      Context ctx(Device{});
      Tape tape(ResidualPlan({.recompute = recompute}));
      const Context::Recording recording(ctx, &tape);
      int count = 0;
      const auto block = [&count](Context& inner, const Tensor& h) {
        const Tensor middle = square(inner, h);
        const Context::LastStage last(inner);
        return inner.apply<Final>({middle}, &count);
      };
      const auto both = [&](Context& inner, const Tensor& h) {
        return checkpoint(inner, checkpoint(inner, h, block), block);
      };
      const Tensor x = tape.watch(test::normal({kSize}, 1));
      const Tensor y = is_nested ? checkpoint(ctx, x, both) : both(ctx, x);
      CHECK(count == 2);
      CHECK(ctx.needs_outputs());
      const Tensor dy = test::normal({1, kSize}, 2);
      const auto dx =
          values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1))[0]);
      if (expected.empty()) {
        expected = dx;
      }
      CHECK(dx == expected);
      // Blocks within a block that runs again have readers: both are computed.
      CHECK(count == (is_nested && recompute == Recompute::kBlock ? 4 : 2));
      CHECK(ctx.needs_outputs());
    }
  }
}

TEST_CASE("the rules hold inside recomputed blocks", "[autograd]") {
  const std::vector<ResidualRule> rules = {
      {.module = "blocks.*.mlp", .role = "*", .keep = Keep::kBF16}};
  CHECK(run({.rules = rules, .recompute = Recompute::kBlock}) == run({.rules = rules}));
  CHECK_FALSE(run({.rules = rules}) == run({}));
}

// The re-run keeps residuals where the forward pass kept none; their rounding draws must not shift
// those of the ops.
TEST_CASE("draws repeat in blocks that round their residuals", "[autograd]") {
  const std::vector<ResidualRule> rules = {
      {.module = "blocks.*.mlp", .role = "linear_input", .keep = Keep::kInt8}};
  const Result exact = run({});
  const Result again = run({.rules = rules, .recompute = Recompute::kBlock});
  // Only the weights' own gradients read the rounded input.
  CHECK(again.output == exact.output);
  CHECK(again.dx == exact.dx);
  CHECK(again.gradients != exact.gradients);
}

TEST_CASE("nested checkpoints give the same bits", "[autograd]") {
  std::vector<double> expected;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kBlock}) {
    Context ctx(Device{});
    Model model(ctx);
    ctx.begin_pass(/*seed=*/9, /*step=*/2);
    Tape tape(ResidualPlan({.recompute = recompute}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(test::normal({kSize}, 1));
    const Tensor y = checkpoint(
        ctx, x, [&](Context& inner, const Tensor& h) { return model.forward(inner, h); });
    const Tensor dy = test::normal({1, kSize}, 2);
    const auto dx = values_of(tape.pull(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1),
                                        Tape::Parameters::kAccumulate)[0]);
    if (recompute == Recompute::kNone) {
      expected = dx;
    } else {
      CHECK(dx == expected);
    }
  }
}

TEST_CASE("vjp through recomputed blocks repeats, for several cotangents", "[autograd]") {
  std::vector<double> expected;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kBlock}) {
    Context ctx(Device{});
    Model model(ctx);
    ctx.begin_pass(/*seed=*/9, /*step=*/2);
    model.store.begin_gradients();
    Tape tape(ResidualPlan({.recompute = recompute}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(test::normal({kSize}, 1));
    const Tensor y = model.forward(ctx, x);
    const Tensor dy = test::normal({3, kSize}, 2);
    for (int repeat = 0; repeat < 2; ++repeat) {
      const auto dx =
          values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1))[0]);
      if (expected.empty()) {
        expected = dx;
      }
      CHECK(dx == expected);
    }
    CHECK_FALSE(model.weights[0]->has_grad);
  }
}

TEST_CASE("recomputed blocks on plain data fill their gradients", "[autograd]") {
  std::vector<std::vector<double>> expected;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kBlock}) {
    for (const bool is_watched : {false, true}) {
      Context ctx(Device{});
      Model model(ctx);
      ctx.begin_pass(/*seed=*/9, /*step=*/2);
      model.store.begin_gradients();
      Tape tape(ResidualPlan({.recompute = recompute}));
      const Context::Recording recording(ctx, &tape);
      const Tensor data = test::normal({kSize}, 1);
      const Tensor x = is_watched ? tape.watch(data) : data;
      tape.backward(ctx, test::sum(ctx, model.forward(ctx, x)));
      std::vector<std::vector<double>> gradients;
      for (const Parameter* weight : model.weights) {
        CHECK(weight->has_grad);
        gradients.push_back(values_of(weight->grad));
      }
      if (expected.empty()) {
        expected = gradients;
      }
      CHECK(gradients == expected);
    }
  }
}

TEST_CASE("without a tape a checkpoint is its block", "[autograd]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({2}, {2, 3});
  const Tensor y =
      checkpoint(ctx, x, [](Context& inner, const Tensor& h) { return square(inner, h); });
  CHECK(values_of(y) == std::vector<double>{4, 9});
}

}  // namespace
}  // namespace ghost
