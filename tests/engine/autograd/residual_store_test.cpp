#include <cmath>

#include "tests/engine/autograd/toy_ops.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

// How nodes keep their residuals on a tape: what is held, what comes back, what it costs.

namespace ghost {
namespace {

using test::multiply;
using test::square;
using test::values_of;

constexpr std::int64_t kSize = 1024;
constexpr std::int64_t kBytes = kSize * 4;

Tensor single(Context& ctx, std::uint64_t seed, const Shape& shape = {kSize}) {
  const Tensor exact = test::normal(shape, seed);
  return test::build(ctx, shape, DType::kF32, [&](auto i) { return test::at(exact, i); });
}

Tensor gradient(Context& ctx, Tape& tape, const Tensor& y, const Tensor& x) {
  const Tensor ones =
      test::build(ctx, y.shape().with_first(1), DType::kF32, [](auto) { return 1.0; });
  return tape.vjp(ctx, std::span(&y, 1), std::span(&ones, 1), std::span(&x, 1))[0];
}

TEST_CASE("exact residuals share memory with the tensors they are", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(single(ctx, 1));
  const std::int64_t before = ctx.meter().total_current();
  const Tensor y = multiply(ctx, x, x);
  CHECK(ctx.meter().total_current() == before + kBytes);  // y and nothing else
  CHECK(ctx.meter().current(MemoryTag::kResiduals) == kBytes);
}

TEST_CASE("approximate keeps give gradients of the rounded residuals", "[autograd]") {
  // Derivatives mean int8 and int4 to an op that has none to keep.
  for (const Keep keep :
       {Keep::kBF16, Keep::kInt8, Keep::kDerivative8, Keep::kInt4, Keep::kDerivative4}) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.keep = keep}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(single(ctx, 1));
    const Tensor y = square(ctx, x);
    const bool is_int8 = keep == Keep::kInt8 || keep == Keep::kDerivative8;
    const std::int64_t codes = keep == Keep::kBF16 ? 2 * kSize : is_int8 ? kSize : kSize / 2;
    const std::int64_t expected = codes + (keep == Keep::kBF16 ? 0 : kSize / 64 * 4);
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == expected);
    const auto dx = values_of(gradient(ctx, tape, y, x));
    const auto exact = values_of(x);
    for (std::size_t i = 0; i < exact.size(); i += 13) {
      // Half a unit of 8 bits, or one step of a group whose largest value is below 4.
      const double error =
          keep == Keep::kBF16 ? std::abs(exact[i]) / 256 : 4.0 / (is_int8 ? 127 : 7);
      CHECK(std::abs(dx[i] - 2 * exact[i]) <= 2 * error);
    }
    CHECK(values_of(gradient(ctx, tape, y, x)) == dx);  // decoding draws nothing
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == expected);
  }
}

TEST_CASE("a tensor that several ops keep is encoded once", "[autograd]") {
  Context ctx(Device{});
  Tape tape(ResidualPlan({.keep = Keep::kBF16}));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(single(ctx, 1));
  const Tensor a = square(ctx, x);
  const Tensor b = square(ctx, x);
  const Tensor c = multiply(ctx, x, x.reshape({32, 32}).reshape({kSize}));
  CHECK(ctx.meter().current(MemoryTag::kResiduals) == 2 * kSize);
}

TEST_CASE("an encoded tensor and its views do not stand for each other", "[autograd]") {
  Context ctx(Device{});
  for (const Keep keep : {Keep::kBF16, Keep::kInt8}) {
    Tape tape(ResidualPlan({.keep = keep}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(single(ctx, 1, {4, 256}));
    const Tensor whole = square(ctx, x);
    const Tensor flat = square(ctx, x.reshape({kSize}));  // shares the code of `whole`
    const Tensor rows = tape.watch(x.slice(0, 2));
    const Tensor part = square(ctx, rows);
    for (const Node& node : tape.nodes()) {
      for (const Node::KeptFacts& facts : node.kept()) {
        CHECK(node.residual(facts.name).shape() == facts.shape);
      }
    }
    CHECK(gradient(ctx, tape, whole, x).shape() == Shape{1, 4, 256});
    CHECK(gradient(ctx, tape, flat, x).shape() == Shape{1, 4, 256});
    CHECK(gradient(ctx, tape, part, rows).shape() == Shape{1, 2, 256});
  }
}

TEST_CASE("rules choose by module and role", "[autograd]") {
  Context ctx(Device{});
  Tape tape(ResidualPlan({.rules = {{.module = "blocks.*.mlp", .keep = Keep::kBF16},
                                    {.module = "*", .role = "norm_input", .keep = Keep::kInt8}}}));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(single(ctx, 1));
  const Context::Scope blocks(ctx, "blocks");
  const Context::Scope block(ctx, "3");
  {
    const Context::Scope mlp(ctx, "mlp");
    CHECK(ctx.module() == "blocks.3.mlp");
    multiply(ctx, x, x);
    square(ctx, x);
  }
  CHECK(ctx.module() == "blocks.3");
  multiply(ctx, x, x);
  std::vector<Keep> keeps;
  for (const Node& node : tape.nodes()) {
    if (!node.kept().empty()) {
      keeps.push_back(node.kept()[0].keep);
    }
  }
  CHECK(keeps == std::vector{Keep::kBF16, Keep::kInt8, Keep::kExact});
}

TEST_CASE("statistics stay exact under any plan", "[autograd]") {
  class Statistic final : public Op {
   public:
    std::string_view name() const override { return "statistic"; }
    ResidualSpecs residuals() const override { return {{"mean", Role::kStatistic}}; }
    Tensors forward(Context& /*ctx*/, Node& node) const override {
      node.keep("mean", node.input(0));
      return {node.input(0)};
    }
    void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& /*pull*/) const override {}
  };
  Context ctx(Device{});
  Tape tape(ResidualPlan(
      {.keep = Keep::kInt8, .rules = {{.keep = Keep::kBF16}}, .recompute = Recompute::kCheap}));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = square(ctx, tape.watch(single(ctx, 1)));
  ctx.apply<Statistic>({x});
  CHECK(tape.nodes().back().kept()[0].keep == Keep::kExact);
}

// square -> multiply(s, s), multiply(s, x): three residuals are outputs of the cheap op.
TEST_CASE("cheap outputs are made again instead of kept", "[autograd]") {
  std::vector<double> expected;
  std::int64_t exact_bytes = 0;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kCheap}) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.recompute = recompute}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(single(ctx, 1));
    Tensor y;
    {
      const Tensor s = square(ctx, x);
      y = multiply(ctx, multiply(ctx, s, s), multiply(ctx, s, x));
    }
    // Exact: x, s, s s, s x. Cheap: all but s.
    const std::int64_t bytes = ctx.meter().current(MemoryTag::kResiduals);
    const std::int64_t total = ctx.meter().total_current();
    const auto dx = values_of(gradient(ctx, tape, y, x));
    CHECK(ctx.meter().total_current() == total);  // nothing made again stays behind
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == bytes);
    if (recompute == Recompute::kNone) {
      exact_bytes = bytes;
      expected = dx;
      CHECK(bytes == 4 * kBytes);
    } else {
      CHECK(bytes == exact_bytes - kBytes);
      CHECK(dx == expected);
      CHECK(values_of(gradient(ctx, tape, y, x)) == expected);
    }
  }
}

TEST_CASE("cheap ops on cheap outputs are made again in a chain", "[autograd]") {
  std::vector<double> expected;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kCheap}) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.recompute = recompute}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(single(ctx, 1));
    Tensor y;
    {
      const Tensor s = square(ctx, x);
      const Tensor t = square(ctx, s.reshape({2, kSize / 2}));
      y = multiply(ctx, t.reshape({kSize}), s);
    }
    if (recompute == Recompute::kNone) {
      expected = values_of(gradient(ctx, tape, y, x));
    } else {
      CHECK(ctx.meter().current(MemoryTag::kResiduals) == kBytes);  // x
      CHECK(values_of(gradient(ctx, tape, y, x)) == expected);
    }
  }
}

TEST_CASE("backward with recomputed outputs ends with nothing held", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {kSize}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF32);
  store.initialize(1);
  const std::int64_t before = ctx.meter().total_current();
  Tape tape(ResidualPlan({.recompute = Recompute::kCheap}));
  const Context::Recording recording(ctx, &tape);
  {
    const Tensor s = square(ctx, ctx.use(w));
    const Tensor y = test::sum(ctx, multiply(ctx, multiply(ctx, s, s), s));
    tape.backward(ctx, y);
  }
  CHECK(values_of(w.grad) == std::vector<double>(kSize, 6.0));
  CHECK(ctx.meter().total_current() == before);
}

TEST_CASE("how residuals are kept changes no draw of an op", "[autograd]") {
  std::vector<double> expected;
  for (const Keep keep : {Keep::kExact, Keep::kInt8}) {
    Context ctx(Device{});
    ctx.begin_pass(/*seed=*/3, /*step=*/4);
    Tape tape(ResidualPlan({.keep = keep}));
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(single(ctx, 1));
    const Tensor y = test::noise(ctx, square(ctx, x));
    if (keep == Keep::kExact) {
      expected = values_of(y);
    } else {
      CHECK(values_of(y) == expected);
    }
  }
}

TEST_CASE("an op may not keep what it has not declared", "[autograd]") {
  class Greedy final : public Op {
   public:
    explicit Greedy(bool is_absent) : is_absent_(is_absent) {}
    std::string_view name() const override { return "greedy"; }
    ResidualSpecs residuals() const override { return {{"x", Role::kNormInput}}; }
    Tensors forward(Context& /*ctx*/, Node& node) const override {
      node.keep("everything", is_absent_ ? Tensor{} : node.input(0));
      return {node.input(0)};
    }
    void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& /*pull*/) const override {}

   private:
    bool is_absent_;
  };
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(single(ctx, 1));
  for (const bool is_absent : {false, true}) {
    CHECK_THROWS_WITH(ctx.apply<Greedy>({x}, is_absent),
                      "op greedy keeps everything without having declared it");
  }
}

TEST_CASE("an op that forms no sketches refuses to keep one", "[autograd]") {
  Context ctx(Device{});
  Tape tape(ResidualPlan({.keep = Keep::kSketch}));
  const Context::Recording recording(ctx, &tape);
  const Context::Scope scope(ctx, "mlp");
  const Tensor x = tape.watch(single(ctx, 1));
  CHECK_THROWS_WITH(square(ctx, x), "x of square in mlp cannot be kept as a sketch");
}

TEST_CASE("an op without recompute says so", "[autograd]") {
  Context ctx(Device{});
  const test::Multiply op;
  const Node node(ctx, std::make_shared<test::Multiply>(), {}, false);
  CHECK_THROWS_WITH(op.recompute(ctx, node), "op multiply cannot make its output again");
}

}  // namespace
}  // namespace ghost
