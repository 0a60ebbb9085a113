#include "engine/autograd/tape.h"

#include "tests/engine/autograd/toy_ops.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::add;
using test::multiply;
using test::square;
using test::sum;
using test::tensor_of;
using test::values_of;
using test::weigh;

using Values = std::vector<double>;

Tensors pull(Tape& tape, Context& ctx, const Tensor& output, const Tensor& cotangent,
             const Tensors& inputs) {
  return tape.vjp(ctx, std::span(&output, 1), std::span(&cotangent, 1), inputs);
}

TEST_CASE("vjp applies the chain rule", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor a = tape.watch(tensor_of({2}, {2, 3}));
  const Tensor b = tape.watch(tensor_of({2}, {5, 7}));
  const Tensor y = square(ctx, multiply(ctx, a, b));  // a^2 b^2
  const Tensors d = pull(tape, ctx, y, tensor_of({1, 2}, {1, 10}), {a, b});
  CHECK(values_of(d[0]) == Values{2 * 2 * 25, 10 * 2 * 3 * 49});
  CHECK(values_of(d[1]) == Values{2 * 5 * 4, 10 * 2 * 7 * 9});
  CHECK(d[0].shape() == Shape{1, 2});
}

TEST_CASE("vjp pushes several cotangents at once", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2, 2}, {1, 2, 3, 4}));
  const Tensor y = add(ctx, square(ctx, x), x);
  const Tensors d =
      pull(tape, ctx, y, tensor_of({3, 2, 2}, {1, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1}), {x});
  CHECK(d[0].shape() == Shape{3, 2, 2});
  CHECK(values_of(d[0]) == Values{3, 0, 0, 0, 0, 5, 7, 0, 3, 5, 7, 9});
}

TEST_CASE("vjp gives cotangents of recorded tensors too", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({1}, {3}));
  const Tensor middle = square(ctx, x);
  const Tensor y = square(ctx, middle);
  const Tensors d = pull(tape, ctx, y, tensor_of({1, 1}, {1}), {middle, x, y});
  CHECK(values_of(d[0]) == Values{18});
  CHECK(values_of(d[1]) == Values{108});
  CHECK(values_of(d[2]) == Values{1});
}

TEST_CASE("vjp is zero where nothing flows", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({1}, {3}));
  const Tensor unused = tape.watch(tensor_of({2}, {1, 1}));
  const Tensor y = square(ctx, x);
  const Tensor later = square(ctx, y);
  const Tensors d = pull(tape, ctx, y, tensor_of({2, 1}, {1, 1}), {unused, later});
  CHECK(d[0].shape() == Shape{2, 2});
  CHECK(values_of(d[0]) == Values{0, 0, 0, 0});
  CHECK(values_of(d[1]) == Values{0, 0});
}

TEST_CASE("vjp from several outputs adds them up", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({1}, {3}));
  const Tensors outputs = {square(ctx, x), multiply(ctx, x, x), x};
  const Tensor one = tensor_of({1, 1}, {1});
  const Tensors cotangents = {one, one, one};  // the same elements three times
  const Tensors d = tape.vjp(ctx, outputs, cotangents, std::span(&x, 1));
  CHECK(values_of(d[0]) == Values{6 + 6 + 1});
  CHECK(values_of(one) == Values{1});
}

TEST_CASE("cotangents of shared inputs add up", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2}, {2, 3}));
  const Tensor left = square(ctx, x);
  const Tensor right = multiply(ctx, x, x);
  const Tensor y = multiply(ctx, left, right);  // x^4
  const Tensors d = pull(tape, ctx, y, tensor_of({1, 2}, {1, 1}), {x});
  CHECK(values_of(d[0]) == Values{32, 108});
}

// A residual add hands one buffer to both branches; what one branch adds to it must not reach the
// other.
TEST_CASE("branches that share a cotangent do not disturb each other", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({1}, {3}));
  const Tensor z = tape.watch(tensor_of({1}, {5}));
  const Tensor h = add(ctx, x, square(ctx, x));       // x + x^2
  const Tensor g = add(ctx, h, z);                    // + z
  const Tensor y = add(ctx, g, multiply(ctx, h, z));  // h + z + h z
  const Tensor cotangent = tensor_of({1, 1}, {1});
  const Tensors d = pull(tape, ctx, y, cotangent, {x, z, h, g});
  CHECK(values_of(d[0]) == Values{(1 + 5) * (1 + 2 * 3)});
  CHECK(values_of(d[1]) == Values{1 + 12});
  CHECK(values_of(d[2]) == Values{6});
  CHECK(values_of(d[3]) == Values{1});
  CHECK(values_of(cotangent) == Values{1});
  CHECK(values_of(pull(tape, ctx, add(ctx, x, x), cotangent, {x})[0]) == Values{2});
}

TEST_CASE("vjp repeats and leaves the residuals", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(ctx.zeros({100}, DType::kF64));
  const Tensor y = multiply(ctx, square(ctx, x), x);
  const std::int64_t held = ctx.meter().current(MemoryTag::kResiduals);
  const std::int64_t total = ctx.meter().total_current();
  const Tensor cotangent = test::normal({1, 100}, 1);
  Values first;
  for (int i = 0; i < 3; ++i) {
    const Tensors d = pull(tape, ctx, y, cotangent, {x});
    if (i == 0) {
      first = values_of(d[0]);
    }
    CHECK(values_of(d[0]) == first);
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == held);
  }
  CHECK(ctx.meter().total_current() == total);
}

TEST_CASE("backward fills gradients and frees every residual", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {2}, Decay::kYes, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  const std::int64_t before = ctx.meter().total_current();
  {
    Tape tape;
    const Context::Recording recording(ctx, &tape);
    store.begin_gradients();
    const Tensor x = tensor_of({2, 2}, {1, 2, 3, 4});
    Tensor y = sum(ctx, square(ctx, weigh(ctx, x, ctx.use(w))));  // sum (x w)^2
    CHECK(ctx.meter().current(MemoryTag::kResiduals) > 0);
    tape.backward(ctx, y, /*seed=*/0.5);
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == 0);
    CHECK(values_of(w.grad) == Values{1 + 9, 4 + 16});
    y = {};
    CHECK(ctx.meter().total_current() == before);
  }
  CHECK(ctx.meter().current(MemoryTag::kWorkspace) == 0);
}

TEST_CASE("residuals are freed one node after another", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {1000}, Decay::kYes, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF32);
  store.initialize(1);
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  Tensor y = ctx.use(w);
  for (int i = 0; i < 10; ++i) {
    y = square(ctx, y);
  }
  y = sum(ctx, y);
  const std::int64_t forward_total = ctx.meter().total_current();
  ctx.meter().reset_peaks();
  tape.backward(ctx, y);
  // Two cotangents and nothing else come on top, and only until the first residuals are gone.
  CHECK(ctx.meter().total_peak() <= forward_total + 64 + 2 * metered_bytes(4000));
}

TEST_CASE("gradients add up over backward passes", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& used = store.declare("used", {2}, Decay::kYes, {.kind = InitKind::kOnes});
  Parameter& unused = store.declare("unused", {2}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  for (const double stale : {7.0, 8.0}) {  // whatever the last step left does not count
    for (Parameter* parameter : {&used, &unused}) {
      std::fill_n(parameter->grad.data<double>(), 2, stale);
    }
    store.begin_gradients();
    for (const double factor : {1.0, 10.0}) {
      Tape tape;
      const Context::Recording recording(ctx, &tape);
      // Used twice in one pass as well.
      const Tensor x = tensor_of({2}, {factor, 2 * factor});
      const Tensor y =
          sum(ctx, add(ctx, weigh(ctx, x, ctx.use(used)), weigh(ctx, x, ctx.use(used))));
      tape.backward(ctx, y);
    }
    store.finish_gradients();
    CHECK(values_of(used.grad) == Values{22, 44});
    CHECK(values_of(unused.grad) == Values{0, 0});
  }
}

TEST_CASE("a parameter gets its gradient from ops that know no weights", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {2}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  store.begin_gradients();
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  // A position embedding that is added, and a tied weight that is also multiplied.
  const Tensor x = tensor_of({2}, {3, 4});
  const Tensor y = sum(ctx, add(ctx, weigh(ctx, x, ctx.use(w)), ctx.use(w)));
  tape.backward(ctx, y);
  CHECK(values_of(w.grad) == Values{4, 5});
}

TEST_CASE("vjp skips the gradients of parameters", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {2}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  std::fill_n(w.grad.data<double>(), 2, 7.0);
  store.begin_gradients();
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2}, {3, 4}));
  const Tensor y = weigh(ctx, x, ctx.use(w));
  CHECK(values_of(pull(tape, ctx, y, tensor_of({2, 2}, {1, 2, 3, 4}), {x})[0]) ==
        Values{1, 2, 3, 4});
  // Asked for by name, the cotangent of a parameter is returned and its gradient left alone.
  CHECK(values_of(pull(tape, ctx, y, tensor_of({1, 2}, {1, 1}), {ctx.use(w)})[0]) == Values{3, 4});
  CHECK(values_of(w.grad) == Values{7, 7});
  CHECK_FALSE(w.has_grad);
}

TEST_CASE("a watched weight may be added and multiplied", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2}, {3, 4}));
  const Tensor w = tape.watch(tensor_of({2}, {1, 1}));
  const Tensor product = weigh(ctx, x, w);
  // The add runs back first: w holds the same buffer as `product` when its gradient is added.
  const Tensor y = add(ctx, product, w);
  const Tensors d = pull(tape, ctx, y, tensor_of({1, 2}, {1, 1}), {x, w, product});
  CHECK(values_of(d[0]) == Values{1, 1});
  CHECK(values_of(d[1]) == Values{4, 5});
  CHECK(values_of(d[2]) == Values{1, 1});
}

TEST_CASE("pull frees residuals and fills gradients when asked", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {2}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  for (const auto parameters : {Tape::Parameters::kSkip, Tape::Parameters::kAccumulate}) {
    store.begin_gradients();
    Tape tape;
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(tensor_of({2}, {3, 4}));
    const Tensor y = square(ctx, weigh(ctx, x, ctx.use(w)));
    const Tensor dy = tensor_of({1, 2}, {1, 1});
    const Tensors d =
        tape.pull(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1), parameters);
    CHECK(values_of(d[0]) == Values{6, 8});
    CHECK(w.has_grad == (parameters == Tape::Parameters::kAccumulate));
    CHECK(ctx.meter().current(MemoryTag::kResiduals) == 0);
  }
  CHECK(values_of(w.grad) == Values{18, 32});
}

TEST_CASE("an output that nothing reads has a cotangent of zeros", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2, 2}, {1, 2, 3, 4}));
  const Tensors halves = ctx.run(std::make_shared<test::Split>(), {x});
  const Tensors d = pull(tape, ctx, square(ctx, halves[1]), tensor_of({1, 1, 2}, {1, 1}), {x});
  CHECK(values_of(d[0]) == Values{0, 0, 6, 8});
}

TEST_CASE("consumers may see a tensor under another shape", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2, 2}, {1, 2, 3, 4}));
  const Tensor y = add(ctx, square(ctx, x.reshape({4})), x.reshape({4}));
  const Tensors d = pull(tape, ctx, y, tensor_of({1, 4}, {1, 1, 1, 1}), {x});
  CHECK(d[0].shape() == Shape{1, 2, 2});
  CHECK(values_of(d[0]) == Values{3, 5, 7, 9});
}

TEST_CASE("only what depends on the tape is recorded", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor constant = square(ctx, tensor_of({1}, {3}));
  CHECK(tape.nodes().empty());
  CHECK_FALSE(tape.records(constant));
  CHECK(ctx.meter().current(MemoryTag::kResiduals) == 0);
  const Tensor x = tape.watch(constant);
  {
    const Context::Recording off(ctx, nullptr);
    CHECK_FALSE(tape.records(square(ctx, x)));
  }
  CHECK(tape.records(square(ctx, x)));
}

TEST_CASE("a cleared tape knows nothing of what was recorded", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor y = sum(ctx, square(ctx, tape.watch(tensor_of({1}, {3}))));
  tape.clear();
  CHECK(tape.nodes().empty());
  CHECK_FALSE(tape.records(y));
  CHECK(ctx.meter().current(MemoryTag::kResiduals) == 0);
  CHECK_THROWS_WITH(tape.backward(ctx, y), "backward from a tensor that is not on the tape");
}

TEST_CASE("a step on a dry device only meters", "[autograd]") {
  BytesPerTag peaks[2];
  for (const bool is_dry : {false, true}) {
    Context ctx(Device{.is_dry = is_dry});
    ParameterStore store;
    Parameter& w = store.declare("w", {64}, Decay::kNo, {});
    store.materialize(ctx.allocator(), DType::kF32);
    store.initialize(1);
    Tape tape;
    const Context::Recording recording(ctx, &tape);
    const Tensor x = square(ctx, ctx.use(w));
    tape.backward(ctx, sum(ctx, add(ctx, x, multiply(ctx, x, x))));
    CHECK(w.has_grad);
    peaks[is_dry] = ctx.meter().at_total_peak();
  }
  CHECK(peaks[0] == peaks[1]);
}

TEST_CASE("the tape refuses what it cannot walk back", "[autograd]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& w = store.declare("w", {2}, Decay::kNo, {.kind = InitKind::kOnes});
  store.materialize(ctx.allocator(), DType::kF64);
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(tensor_of({2}, {3, 4}));
  const Tensor y = weigh(ctx, x, ctx.use(w));
  const Tensor stranger = tensor_of({2}, {1, 1});
  const Tensor one = tensor_of({1, 2}, {1, 1});
  CHECK_THROWS_WITH(tape.backward(ctx, y),
                    "backward from a tensor of shape [2]; expected a scalar");
  CHECK_THROWS_WITH(pull(tape, ctx, stranger, one, {x}),
                    "backward from a tensor that is not on the tape");
  CHECK_THROWS_WITH(pull(tape, ctx, y, one, {stranger}),
                    "the cotangent of a tensor was asked for that is not on the tape");
  CHECK_THROWS_WITH(tape.vjp(ctx, std::span(&y, 1), {}, {}),
                    "backward from 1 outputs with 0 cotangents; expected one for each");
  CHECK_THROWS_WITH(pull(tape, ctx, y, tensor_of({1, 3}, {1, 1, 1}), {x}),
                    "a cotangent of shape [1,3] for an output of shape [2]; expected [P, ...] "
                    "with P = 1");
  const Tensor two = tensor_of({2, 2}, {1, 1, 1, 1});
  CHECK_THROWS_WITH(pull(tape, ctx, y, two, {ctx.use(w)}),
                    "the gradient of a weight of weigh was asked for 2 cotangents at once; "
                    "expected 1");
  const Tensor z = add(ctx, x, ctx.use(w));
  CHECK_THROWS_WITH(tape.pull(ctx, std::span(&z, 1), std::span(&two, 1), std::span(&x, 1),
                              Tape::Parameters::kAccumulate),
                    "the gradient of w was asked for 2 cotangents at once; expected 1");
}

TEST_CASE("a second backward pass names the residual that is gone", "[autograd]") {
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Context::Scope scope(ctx, "mlp");
  const Tensor x = tape.watch(tensor_of({1}, {3}));
  const Tensor y = square(ctx, x);
  const Tensor one = tensor_of({1, 1}, {1});
  tape.pull(ctx, std::span(&y, 1), std::span(&one, 1), std::span(&x, 1), Tape::Parameters::kSkip);
  CHECK_THROWS_WITH(pull(tape, ctx, y, one, {x}), "op square in mlp has no residual x");
}

}  // namespace
}  // namespace ghost
