#include <cmath>

#include "engine/tensor/primitives.h"
#include "ops/linear.h"
#include "ops/row_sketch.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

Tensor as(const Tensor& x, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

/// Golden weights are [N, M], ours [M, N].
Tensor transposed(const Tensor& x) {
  const auto values = test::values_of(x);
  std::vector<double> out(values.size());
  const auto rows = static_cast<std::size_t>(x.dim(0));
  const auto cols = static_cast<std::size_t>(x.dim(1));
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      out[c * rows + r] = values[r * cols + c];
    }
  }
  return test::tensor_of({x.dim(1), x.dim(0)}, out);
}

RowBins bins_of(const test::GoldenCase& golden) {
  const Tensor h = golden.array("h");
  const Tensor s = golden.array("s");
  std::vector<std::int8_t> signs;
  for (const std::int32_t sign : s.span<std::int32_t>()) {
    signs.push_back(static_cast<std::int8_t>(sign));
  }
  return bins_of_hash(h.span<std::int32_t>(), signs, golden.manifest().at("scalars").at("R"));
}

void check_sketch(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const auto& scalars = golden.manifest().at("scalars");
  const double tolerance = dtype == DType::kF64 ? 1e-10 : 2e-5;
  const auto label = [&](std::string_view array) {
    return fmt::format("{} {}", dtype_name(dtype), array);
  };
  Context ctx(Device{});
  const Tensor x = as(golden.array("x"), dtype);
  const Tensor dy = as(golden.array("dy"), dtype);
  const Shape weight_shape{scalars.at("M"), scalars.at("N")};
  const SketchConfig config{.lambda = scalars.at("lam"), .scale = scalars.at("fubini_s")};

  const auto sketch = std::make_shared<const RowSketch>(ctx, x, config, bins_of(golden));
  CHECK(sketch->rank() == scalars.at("R").get<std::int64_t>());
  errors.check(label("x_tilde"), sketch->values(), golden.array("x_tilde"), tolerance);
  CHECK(sketch->gamma() == Approx(scalars.at("gamma_x").get<double>()).epsilon(tolerance));

  GradientSketch gradient(ctx, sketch, scalars.at("M"));
  const Tensor db = ctx.empty({scalars.at("M")}, dtype);
  gradient.add(ctx, dy, /*first_row=*/0, GradientTarget{.grad = db});
  errors.check(label("dy_tilde"), gradient.values(), golden.array("dy_tilde"), tolerance);
  CHECK(gradient.gamma() == Approx(scalars.at("gamma_dy").get<double>()).epsilon(tolerance));
  if (golden.has("db")) {
    errors.check(label("db"), db, golden.array("db"), tolerance);
  }
  const Tensor dw = ctx.empty(weight_shape, dtype);
  gradient.write(ctx, {.grad = dw}, "linear");
  errors.check(label("dW"), dw, transposed(golden.array("dW")), tolerance);

  const SketchConfig plain{.invariant = false, .lambda = 0};
  const auto plain_sketch = std::make_shared<const RowSketch>(ctx, x, plain, bins_of(golden));
  GradientSketch plain_gradient(ctx, plain_sketch, scalars.at("M"));
  plain_gradient.add(ctx, dy, /*first_row=*/0);
  plain_gradient.write(ctx, {.grad = dw}, "linear");
  errors.check(label("dW_plain"), dw, transposed(golden.array("dW_plain")), tolerance);
}

// y, dX and db are those of the exact layer whatever is kept of x.
void check_layer(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const double tolerance = dtype == DType::kF64 ? 1e-10 : 2e-5;
  Context ctx(Device{});
  Tape tape(ResidualPlan({.rules = {{.keep = Keep::kSketch}}, .sketch = {.rank = 2}}));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(as(golden.array("x"), dtype));
  const Tensor weight = tape.watch(as(transposed(golden.array("w")), dtype));
  const Tensor bias = golden.has("b") ? tape.watch(as(golden.array("b"), dtype)) : Tensor{};
  const Tensor y = linear(ctx, x, weight, bias);
  const Tensor dy = as(golden.array("dy"), dtype);
  const Tensor cotangent = dy.reshape(dy.shape().with_first(1));
  Tensors inputs{x, weight};
  if (bias.defined()) {
    inputs.push_back(bias);
  }
  const Tensors grads = tape.vjp(ctx, std::span(&y, 1), std::span(&cotangent, 1), inputs);
  const std::string prefix(dtype_name(dtype));
  errors.check(prefix + " y", y, golden.array("y"), tolerance);
  errors.check(prefix + " dX", grads[0], golden.array("dX"), tolerance);
  if (bias.defined()) {
    errors.check(prefix + " layer db", grads[2], golden.array("db"), tolerance);
  }
}

// h and s drawn from (seed, layer, step), and the words themselves.
void check_draws(const test::GoldenCase& golden) {
  const auto& scalars = golden.manifest().at("scalars");
  const RandomStream stream{
      .seed = std::stoull(scalars.at("seed_hex").get<std::string>(), nullptr, 16),
      .step = scalars.at("step"),
      .site = scalars.at("layer")};
  const auto words = test::values_of(golden.array("philox_words"));
  const std::int64_t rows = scalars.at("rows");
  for (std::int64_t b = 0; b < rows; ++b) {
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(words[static_cast<std::size_t>(b) * 4 + i] ==
            stream.words(static_cast<std::uint32_t>(b))[i]);
    }
  }
  const std::int64_t rank = scalars.at("R");
  const RowBins drawn = hashed_bins(stream, rows, rank, HashKind::kBalanced);
  const Tensor h = golden.array("h");
  const Tensor s = golden.array("s");
  REQUIRE(drawn.num_bins() == rank);
  for (std::size_t bin = 0; bin < static_cast<std::size_t>(rank); ++bin) {
    for (auto i = static_cast<std::size_t>(drawn.offsets[bin]);
         i < static_cast<std::size_t>(drawn.offsets[bin + 1]); ++i) {
      CHECK(h.data<std::int32_t>()[drawn.rows[i]] == static_cast<std::int32_t>(bin));
      CHECK(s.data<std::int32_t>()[drawn.rows[i]] == drawn.weights[i]);
    }
  }
}

TEST_CASE("sketches agree with the golden vectors", "[ops][golden][basis]") {
  test::GoldenErrors errors("basis");
  for (const test::GoldenCase& golden : test::golden_cases("basis")) {
    INFO(golden.name());
    for (const DType dtype : {DType::kF64, DType::kF32}) {
      check_sketch(golden, dtype, errors);
      check_layer(golden, dtype, errors);
    }
    if (golden.has("philox_words")) {
      check_draws(golden);
    }
  }
}

}  // namespace
}  // namespace ghost
