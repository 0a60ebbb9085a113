#include "ops/three_sketch.h"

#include <cmath>

#include "engine/autograd/state_store.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/linear.h"
#include "ops/two_sided_sketch.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

constexpr ProbeNames kNames{.seed = 11};

Tensor as(const Tensor& x, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

double relative_distance(const DenseMatrix& a, const DenseMatrix& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.columns() == b.columns());
  DenseMatrix difference = a;
  for (std::int64_t i = 0; i < a.rows(); ++i) {
    for (std::int64_t j = 0; j < a.columns(); ++j) {
      difference(i, j) -= b(i, j);
    }
  }
  return difference.frobenius_norm() / b.frobenius_norm();
}

// Abar(t) = (1 - beta) sum_j beta^(t - j) A(j) is formed here; the sketches only ever see A(j).
TEST_CASE("moving averages of sketches are sketches of the moving average", "[ops]") {
  constexpr double kBeta = 0.8;
  constexpr std::int64_t kRows = 19;
  const ThreeSketchLayout layout{.k = 3, .s = 4};
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    Context ctx(Device{});
    StateStore store(ctx.allocator());
    ThreeSketch sketch(store, "a", layout, /*channels=*/7, dtype);
    const Tensor probes = draw_probes(ctx, layout, kNames, 0, kRows, dtype);
    DenseMatrix mean(kRows, 7);
    for (int step = 0; step < 5; ++step) {
      const Tensor a = normal({kRows, 7}, static_cast<std::uint64_t>(step));
      sketch.update(ctx, as(a, dtype), probes, {.beta = kBeta});
      for (std::int64_t i = 0; i < a.numel(); ++i) {
        double& of = mean(i / 7, i % 7);
        of += (1 - kBeta) * (a.data<double>()[i] - of);
      }
    }
    const double tolerance = dtype == DType::kF64 ? 1e-14 : 1e-6;
    const DenseMatrix expected = transposed_product(mean, DenseMatrix::from(probes));
    CHECK(relative_distance(sketch.all(), expected) < tolerance);
    CHECK(sketch.x().columns() == 3);
    CHECK(sketch.y().columns() == 3);
    CHECK(sketch.z_over_psi().columns() == 4);
    const auto psi = draw_psi(kNames, /*layer=*/2, 4);
    CHECK(sketch.z(psi)(1, 3) == sketch.z_over_psi()(1, 3) * psi[3]);
    CHECK(sketch.updates() == 5);
    CHECK(sketch.bias_correction(kBeta) == Approx(1 / (1 - std::pow(kBeta, 5))).epsilon(1e-14));
  }
}

TEST_CASE("a product's sketch needs no product", "[ops]") {
  const ThreeSketchLayout layout{.k = 3, .s = 4, .has_x = false};
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ThreeSketch formed(store, "formed", layout, /*channels=*/11, DType::kF64);
  ThreeSketch factored(store, "factored", layout, /*channels=*/11, DType::kF64);
  const Tensor weight = normal({11, 5}, 7);
  for (std::uint64_t step = 0; step < 3; ++step) {
    for (std::int64_t first = 0; first < 12; first += 6) {
      const Tensor b = normal({2, 3, 5}, 10 * step + static_cast<std::uint64_t>(first));
      const Tensor a = linear(ctx, b, weight, {});
      const Tensor probes = draw_probes(ctx, layout, kNames, first, 6, DType::kF64);
      const ThreeSketch::Update update{.beta = 0.7, .weight = 1.5, .is_further = first > 0};
      formed.update(ctx, a, probes, update);
      factored.update_product(ctx, b, weight, probes, update);
    }
  }
  CHECK(factored.updates() == 3);
  CHECK(relative_distance(factored.all(), formed.all()) < 1e-12);
  const Tensor probes = draw_probes(ctx, layout, kNames, 0, 6, DType::kF64);
  CHECK_THROWS_WITH(factored.update_product(ctx, normal({6, 4}, 1), weight, probes, {}),
                    "sketch update with B [6,4], weight [11,5] and probes [6,7]; expected a weight "
                    "[11,4] and at least as many rows of 7 columns");
}

TEST_CASE("a GPU's sketches are the CPU's", "[ops][cuda]") {
  constexpr std::int64_t kRows = 133;
  constexpr std::int64_t kChannels = 77;
  const ThreeSketchLayout layout{.k = 5, .s = 11};
  const Tensor weight = normal({kChannels, 40}, 3);
  for (const Device& device : test::cuda_devices()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      INFO(device.name() << " in " << dtype_name(dtype));
      const auto sketches_on = [&](const Device& on, DType activations) {
        Context ctx(test::shared_allocator(on));
        StateStore store(ctx.allocator());
        const DType state = statistic_dtype(activations);
        ThreeSketch plain(store, "plain", layout, kChannels, state);
        ThreeSketch product(store, "product", layout, kChannels, state);
        TwoSidedSketch both_sides(store, "both", {.k = 5, .s = 11, .errors = 3}, kNames,
                                  /*layer=*/2, kRows, kChannels, state);
        const auto sent = [&](const Tensor& x, DType in) {
          return to_device(as(x, in), ctx.allocator(), MemoryTag::kWorkspace);
        };
        for (std::int64_t step = 0; step < 3; ++step) {
          const auto seed = static_cast<std::uint64_t>(step);
          const Tensor a = normal({kRows, kChannels}, seed);
          const Tensor probes = draw_probes(ctx, layout, kNames, step, kRows, activations);
          const ThreeSketch::Update update{.beta = 0.8, .weight = 1.25};
          plain.update(ctx, sent(a, activations), probes, update);
          product.update_product(ctx, sent(normal({kRows, 40}, seed), activations),
                                 sent(weight, activations), probes, update);
          both_sides.update(ctx, sent(a, state), /*beta=*/0.8);
        }
        CHECK(plain.updates() == 3);
        CHECK(both_sides.updates() == 3);
        return std::vector<DenseMatrix>{plain.all(),    product.all(),  both_sides.x(),
                                        both_sides.y(), both_sides.z(), both_sides.rebuild().v};
      };
      const auto got = sketches_on(device, dtype);
      const auto expected = sketches_on(Device{}, DType::kF64);
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("matrix " << i);
        const bool is_rounded = dtype == DType::kBF16 && i < 2;
        CHECK(relative_distance(got[i], expected[i]) < (is_rounded ? 2e-2 : 1e-4));
      }
    }
  }
}

TEST_CASE("micro-batches of a step add up to the step's sketch", "[ops]") {
  const ThreeSketchLayout layout{.k = 3, .s = 3};
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ThreeSketch whole(store, "whole", layout, 5, DType::kF64);
  ThreeSketch parts(store, "parts", layout, 5, DType::kF64);
  for (std::uint64_t step = 0; step < 3; ++step) {
    const Tensor a = normal({12, 5}, step);
    whole.update(ctx, a, draw_probes(ctx, layout, kNames, 0, 12, DType::kF64), {.beta = 0.5});
    for (std::int64_t first = 0; first < 12; first += 4) {
      parts.update(ctx, a.slice(first, first + 4),
                   draw_probes(ctx, layout, kNames, first, 4, DType::kF64),
                   {.beta = 0.5, .is_further = first > 0});
    }
  }
  CHECK(parts.updates() == 3);
  CHECK(relative_distance(parts.all(), whole.all()) < 1e-14);
}

TEST_CASE("tied probes take Z from X", "[ops]") {
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  const ThreeSketchLayout layout{.k = 3, .s = 3, .is_tied = true};
  CHECK(layout.columns() == 6);
  ThreeSketch sketch(store, "a", layout, 5, DType::kF64);
  sketch.update(ctx, normal({9, 5}, 1), draw_probes(ctx, layout, kNames, 0, 9, DType::kF64), {});
  CHECK(relative_distance(sketch.z_over_psi(), sketch.x()) == 0);
  const ThreeSketchLayout wrong{.k = 3, .s = 4, .is_tied = true};
  CHECK_THROWS_WITH(ThreeSketch(store, "b", wrong, 5, DType::kF64),
                    "tied probes of b: s is 4; expected k, which is 3");
}

TEST_CASE("sketches that are not asked for take no room", "[ops]") {
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  const ThreeSketchLayout all{.k = 3, .s = 4};
  const ThreeSketchLayout only_y{.k = 3, .s = 4, .has_x = false, .has_z = false};
  ThreeSketch one(store, "all", all, 6, DType::kF32);
  ThreeSketch other(store, "y", only_y, 6, DType::kF32);
  CHECK(one.bytes() == 6 * 10 * 4 + 8);
  CHECK(other.bytes() == 6 * 3 * 4 + 8);
  CHECK(ctx.meter().current(MemoryTag::kSketches) >= one.bytes() + other.bytes());
  const Tensor a = as(normal({9, 6}, 1), DType::kF32);
  one.update(ctx, a, draw_probes(ctx, all, kNames, 0, 9, DType::kF32), {});
  other.update(ctx, a, draw_probes(ctx, only_y, kNames, 0, 9, DType::kF32), {});
  CHECK(relative_distance(other.y(), one.y()) < 1e-6);
}

TEST_CASE("state does not grow with steps or rows", "[ops]") {
  const ThreeSketchLayout layout{.k = 5, .s = 5};
  std::int64_t bytes = 0;
  for (const std::int64_t rows : {4, 64}) {
    Context ctx(Device{});
    StateStore store(ctx.allocator());
    ThreeSketch sketch(store, "a", layout, 8, DType::kF32);
    const std::int64_t before = ctx.meter().current(MemoryTag::kSketches);
    const Tensor a = as(normal({rows, 8}, 1), DType::kF32);
    for (int step = 0; step < 1000; ++step) {
      sketch.update(ctx, a, draw_probes(ctx, layout, kNames, 0, rows, DType::kF32), {.beta = 0.9});
    }
    CHECK(ctx.meter().current(MemoryTag::kSketches) == before);
    CHECK((bytes == 0 || sketch.bytes() == bytes));
    bytes = sketch.bytes();
  }
}

TEST_CASE("a sketch goes on from what the store holds", "[ops]") {
  const ThreeSketchLayout layout{.k = 3, .s = 3};
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  StateStore resumed(ctx.allocator());
  const auto step = [&](StateStore& in, std::uint64_t seed) {
    ThreeSketch sketch(in, "a", layout, 5, DType::kF32);
    sketch.update(ctx, as(normal({9, 5}, seed), DType::kF32),
                  draw_probes(ctx, layout, kNames, 0, 9, DType::kF32), {.beta = 0.9});
  };
  step(store, 1);
  for (const auto& [name, tensor] : store.all()) {  // a checkpoint has f64 throughout
    cast(resumed.get(name, tensor.shape()), tensor);
  }
  step(store, 2);
  step(resumed, 2);
  ThreeSketch sketch(resumed, "a", layout, 5, DType::kF32);
  CHECK(sketch.updates() == 2);
  CHECK(values_of(sketch.values()) == values_of(store.find("a.sketch")));
  sketch.reset();
  CHECK(sketch.updates() == 0);
  CHECK(sketch.bias_correction(0.9) == 1);
  CHECK(sketch.all().frobenius_norm() == 0);
  resumed.forget("a.");
  CHECK_FALSE(resumed.find("a.sketch").defined());
}

TEST_CASE("an update checks its shapes", "[ops]") {
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  const ThreeSketchLayout layout{.k = 3, .s = 3};
  ThreeSketch sketch(store, "a", layout, 5, DType::kF64);
  const Tensor probes = draw_probes(ctx, layout, kNames, 0, 8, DType::kF64);
  CHECK_THROWS_WITH(sketch.update(ctx, normal({9, 5}, 1), probes, {}),
                    "sketch update with A [9,5] and probes [8,9]; expected [n,5] and at least as "
                    "many rows of 9 columns, in one dtype");
}

}  // namespace
}  // namespace ghost
