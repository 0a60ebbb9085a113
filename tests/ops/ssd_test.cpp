#include "ops/ssd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/tensor/primitives.h"
#include "ops/causal_conv1d.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::relative_difference;
using test::values_of;

enum class Output { kY, kFinalState };

Tensor as(const Tensor& x, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

/// xbc, dt, a_log, d, dt_bias and the initial state, in the order in which the op takes them.
std::vector<test::OpInput> inputs_of(const SsdShape& shape, std::int64_t batch,
                                     std::int64_t seq_len) {
  const Shape heads{shape.heads};
  return {
      {normal({batch, seq_len, shape.packed_width()}, 1)},
      {normal({batch, seq_len, shape.heads}, 2)},
      {normal(heads, 3), InputKind::kWeight, /*is_precise=*/true},
      {normal(heads, 4), InputKind::kWeight, /*is_precise=*/true},
      {normal(heads, 5), InputKind::kWeight, /*is_precise=*/true},
      {.value = normal({batch, shape.heads, shape.head_dim, shape.state}, 6), .is_precise = true}};
}

SsdResult run(Context& ctx, const Tensors& in, const SsdConfig& config) {
  return ssd(ctx, in[0], in[1], {.a_log = in[2], .d = in[3], .dt_bias = in[4]}, config, in[5]);
}

test::OpCase case_of(const SsdConfig& config, std::int64_t batch, std::int64_t seq_len,
                     Output output) {
  return {.inputs = inputs_of(config.shape, batch, seq_len),
          .run = [config, output](Context& ctx, const Tensors& in) {
            const SsdResult result = run(ctx, in, config);
            return output == Output::kY ? result.y : result.final_state;
          }};
}

Tensors values_in(const SsdShape& shape, std::int64_t batch, std::int64_t seq_len,
                  DType dtype = DType::kF64) {
  Tensors out;
  for (const test::OpInput& input : inputs_of(shape, batch, seq_len)) {
    out.push_back(as(input.value, dtype));
  }
  return out;
}

constexpr SsdShape kShapes[] = {{.heads = 1, .head_dim = 1, .groups = 1, .state = 1},
                                {.heads = 4, .head_dim = 3, .groups = 2, .state = 2},
                                {.heads = 3, .head_dim = 2, .groups = 3, .state = 5},
                                {.heads = 3, .head_dim = 5, .groups = 1, .state = 3}};

TEST_CASE("ssd satisfies the op contract", "[ops]") {
  for (const SsdShape& shape : kShapes) {
    for (const Output output : {Output::kY, Output::kFinalState}) {
      test::check_op(case_of({.shape = shape, .chunk = 3}, 2, 5, output));
    }
  }
}

TEST_CASE("ssd satisfies the op contract whatever the length", "[ops]") {
  for (const std::int64_t seq_len : {1, 2, 3, 4}) {
    for (const std::int64_t chunk : {0, 1, 3}) {
      test::check_op(case_of({.shape = kShapes[1], .chunk = chunk}, 1, seq_len, Output::kY));
    }
  }
}

TEST_CASE("ssd satisfies the op contract across the rows of one product", "[ops]") {
  test::check_op(case_of({.chunk = 70}, 1, 140, Output::kY));
}

TEST_CASE("ssd satisfies the op contract without optional inputs", "[ops]") {
  std::vector<test::OpInput> inputs = inputs_of(kShapes[1], 2, 5);
  inputs[3].value = {};
  inputs[4].value = {};
  inputs[5].value = {};
  test::check_op({.inputs = inputs, .run = [](Context& ctx, const Tensors& in) {
                    return run(ctx, in, {.shape = kShapes[1], .chunk = 2}).y;
                  }});
}

TEST_CASE("ssd in chunks equals the recurrence", "[ops]") {
  Context ctx(Device{});
  for (const SsdShape& shape : kShapes) {
    for (const std::int64_t seq_len : {1, 2, 63, 64, 65, 129, 257}) {
      const Tensors in = values_in(shape, 2, seq_len);
      const SsdResult expected = run(ctx, in, {.shape = shape, .chunk = 0});
      for (const std::int64_t chunk : {1, 7, 64, 65, 128, 1000}) {
        INFO("T = " << seq_len << ", chunks of " << chunk << ", " << shape.heads << " heads");
        const SsdResult got = run(ctx, in, {.shape = shape, .chunk = chunk});
        CHECK(relative_difference(got.y, expected.y) < 1e-12);
        CHECK(relative_difference(got.final_state, expected.final_state) < 1e-12);
      }
    }
  }
}

TEST_CASE("ssd has the same gradients whatever the chunks", "[ops]") {
  const auto gradients = [](const SsdShape& shape, std::int64_t chunk, DType dtype) {
    Context ctx(Device{});
    Tape tape;
    Tensors in = values_in(shape, 2, 257, dtype);
    for (Tensor& leaf : in) {
      leaf = tape.watch(leaf);
    }
    const Context::Recording recording(ctx, &tape);
    const SsdResult result = run(ctx, in, {.shape = shape, .chunk = chunk});
    const Tensor outputs[] = {result.y, result.final_state};
    const Tensor cotangents[] = {as(normal(result.y.shape().with_first(1), 7), dtype),
                                 as(normal(result.final_state.shape().with_first(1), 8), dtype)};
    return tape.vjp(ctx, outputs, cotangents, in);
  };
  for (const SsdShape& shape : {kShapes[1], kShapes[3]}) {
    const Tensors expected = gradients(shape, 1, DType::kF64);
    for (const std::int64_t chunk : {7, 100, 257}) {
      const Tensors got = gradients(shape, chunk, DType::kF64);
      const Tensors in_f32 = gradients(shape, chunk, DType::kF32);
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("chunks of " << chunk << ", input " << i);
        CHECK(relative_difference(got[i], expected[i]) < 1e-11);
        CHECK(relative_difference(in_f32[i], expected[i]) < 2e-5);
      }
    }
  }
}

TEST_CASE("ssd in pieces equals the whole sequence", "[ops]") {
  Context ctx(Device{});
  const SsdShape shape = kShapes[1];
  const Tensors in = values_in(shape, 1, 9);
  const SsdConfig config{.shape = shape, .chunk = 4};
  const SsdResult whole = run(ctx, in, config);
  std::vector<double> pieces;
  Tensor state = in[5];
  std::int64_t begin = 0;
  for (const std::int64_t length : {5, 1, 1, 2}) {
    const auto part = [&](const Tensor& x) {
      return x.reshape({9, x.dim(-1)}).slice(begin, begin + length).reshape({1, length, x.dim(-1)});
    };
    const SsdResult result =
        run(ctx, {part(in[0]), part(in[1]), in[2], in[3], in[4], state}, config);
    for (const double value : values_of(result.y)) {
      pieces.push_back(value);
    }
    state = result.final_state;
    begin += length;
  }
  CHECK(relative_difference(test::tensor_of(whole.y.shape(), pieces), whole.y) < 1e-13);
  CHECK(relative_difference(state, whole.final_state) < 1e-13);
}

TEST_CASE("ssd is causal to the bit", "[ops]") {
  Context ctx(Device{});
  const SsdShape shape = kShapes[1];
  constexpr std::int64_t kChanged = 70;
  for (const std::int64_t chunk : {0, 16, 128}) {
    const SsdConfig config{.shape = shape, .chunk = chunk};
    const auto before = values_of(run(ctx, values_in(shape, 1, 100, DType::kF32), config).y);
    const Tensors in = values_in(shape, 1, 100, DType::kF32);
    std::fill_n(in[0].data<float>() + kChanged * shape.packed_width(), shape.packed_width(), 3.0F);
    std::fill_n(in[1].data<float>() + kChanged * shape.heads, shape.heads, 2.0F);
    const auto after = values_of(run(ctx, in, config).y);
    const auto end = static_cast<std::ptrdiff_t>(kChanged * shape.inner());
    INFO("chunks of " << chunk);
    CHECK(std::equal(before.begin(), before.begin() + end, after.begin()));
    CHECK_FALSE(std::equal(before.begin() + end, before.end(), after.begin() + end));
  }
}

TEST_CASE("ssd leaves the state alone where the step is 0", "[ops]") {
  Context ctx(Device{});
  Tensors in = values_in(kShapes[1], 2, 6);
  in[1] = ctx.zeros(in[1].shape(), DType::kF64);
  in[4] = {};
  for (const std::int64_t chunk : {0, 4}) {
    const SsdConfig config{.shape = kShapes[1], .has_softplus = false, .chunk = chunk};
    CHECK(values_of(run(ctx, in, config).final_state) == values_of(in[5]));
  }
}

TEST_CASE("ssd clamps steps and cuts their gradient", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  // One token a step: below, inside, above. The state is w[2] + decays of earlier tokens.
  const Tensor xbc = test::tensor_of({1, 3, 3}, std::vector<double>(9, 1.0));
  const Tensor dt = tape.watch(test::tensor_of({1, 3, 1}, {0.1, 0.5, 0.9}));
  const Tensor a_log = test::tensor_of({1}, {0.0});
  const SsdConfig config{.has_softplus = false, .dt_min = 0.25, .dt_max = 0.75};
  const Context::Recording recording(ctx, &tape);
  const SsdResult result = ssd(ctx, xbc, dt, {.a_log = a_log}, config);
  const double expected = 0.25 * std::exp(-1.25) + 0.5 * std::exp(-0.75) + 0.75;
  CHECK(values_of(result.final_state)[0] == Approx(expected).epsilon(1e-14));
  const Tensor cotangent = test::tensor_of({1, 1, 1, 1, 1}, {1.0});
  const auto gradient = values_of(
      tape.vjp(ctx, std::span(&result.final_state, 1), std::span(&cotangent, 1), {&dt, 1})[0]);
  CHECK(gradient[0] == 0);
  CHECK(gradient[1] == Approx(std::exp(-0.75) - 0.25 * std::exp(-1.25)).epsilon(1e-14));
  CHECK(gradient[2] == 0);
}

TEST_CASE("ssd stays finite when everything is forgotten", "[ops]") {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    Context ctx(Device{});
    Tape tape;
    Tensors in = values_in(kShapes[1], 1, 40, dtype);
    in[2] = as(test::tensor_of({4}, {12, 12, 12, 12}), dtype);
    for (Tensor& leaf : in) {
      leaf = tape.watch(leaf);
    }
    const Context::Recording recording(ctx, &tape);
    const Tensor y = run(ctx, in, {.shape = kShapes[1], .chunk = 16}).y;
    const Tensor cotangent = as(normal(y.shape().with_first(1), 7), dtype);
    for (const Tensor& gradient : tape.vjp(ctx, {&y, 1}, {&cotangent, 1}, in)) {
      for (const double value : values_of(gradient)) {
        REQUIRE(std::isfinite(value));
      }
    }
  }
}

TEST_CASE("ssd lets the convolution before it run again instead of keeping x, B and C", "[ops]") {
  const SsdShape shape = kShapes[1];
  const auto gradient = [&](Recompute recompute, Keep expected) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.recompute = recompute}));
    Tensors in = values_in(shape, 2, 9);
    const Tensor raw = tape.watch(in[0]);
    const Context::Recording recording(ctx, &tape);
    in[0] =
        causal_conv1d(ctx, raw, normal({shape.packed_width(), 4}, 9), {}, ConvActivation::kSilu);
    const Tensor y = run(ctx, in, {.shape = shape, .chunk = 4}).y;
    CHECK(tape.nodes().back().kept()[0].keep == expected);
    const Tensor cotangent = normal(y.shape().with_first(1), 7);
    return values_of(tape.vjp(ctx, {&y, 1}, {&cotangent, 1}, {&raw, 1})[0]);
  };
  CHECK(gradient(Recompute::kCheap, Keep::kRecompute) == gradient(Recompute::kNone, Keep::kExact));
}

TEST_CASE("ssd refuses wrong shapes, dtypes and options", "[ops]") {
  Context ctx(Device{});
  const SsdShape shape = kShapes[1];
  const Tensors good = values_in(shape, 2, 5);
  const auto with = [&](std::size_t which, const Tensor& value, const SsdConfig& config) {
    Tensors in = good;
    in[which] = value;
    return run(ctx, in, config).y;
  };
  const SsdConfig config{.shape = shape};
  CHECK_THROWS_WITH(with(0, normal({2, 5, 19}, 1), config),
                    "shape mismatch in ssd: xbc [2,5,19]; expected [B,T,20] for 4 heads of 3 and "
                    "2 x 2 groups of 2");
  CHECK_THROWS_WITH(with(1, normal({2, 5, 3}, 1), config),
                    "shape mismatch in ssd: xbc [2,5,20] against dt [2,5,3]; expected [2,5,4]");
  CHECK_THROWS_WITH(with(2, normal({3}, 1), config),
                    "shape mismatch in ssd: a_log [3]; expected [4] for 4 heads");
  CHECK_THROWS_WITH(with(3, normal({3}, 1), config),
                    "shape mismatch in ssd: d [3]; expected [4] for 4 heads");
  CHECK_THROWS_WITH(with(4, normal({3}, 1), config),
                    "shape mismatch in ssd: dt_bias [3]; expected [4] for 4 heads");
  CHECK_THROWS_WITH(with(5, normal({2, 4, 2, 3}, 1), config),
                    "shape mismatch in ssd: initial_state [2,4,2,3]; expected [2,4,3,2]");
  CHECK_THROWS_WITH(with(1, as(good[1], DType::kF32), config),
                    "ssd: dt must have the dtype of xbc, f64");
  CHECK_THROWS_WITH(with(2, as(good[2], DType::kF32), config),
                    "ssd: a_log is f32; expected f64 where xbc is f64");
  CHECK_THROWS_WITH(with(5, as(good[5], DType::kF32), config),
                    "ssd: initial_state is f32; expected f64 where xbc is f64");
  CHECK_THROWS_WITH(run(ctx, good, {.shape = {.heads = 4, .groups = 3}}),
                    "ssd: 4 heads in 3 groups; expected a multiple");
  CHECK_THROWS_WITH(run(ctx, good, {.shape = shape, .chunk = -1}),
                    "ssd: chunks of -1 tokens; expected 0 or more");
  CHECK_THROWS_WITH(run(ctx, good, {.shape = shape, .dt_min = 2, .dt_max = 1}),
                    "ssd: steps between 2 and 1; expected 0 <= dt_min <= dt_max");
}

}  // namespace
}  // namespace ghost
