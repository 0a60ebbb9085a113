// What sketches need of a GPU against the CPU's definitions, at odd sizes.

#include <cmath>

#include "engine/autograd/state_store.h"
#include "engine/autograd/tape.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/gather_rows_kernels.h"
#include "ops/linear_cross_entropy.h"
#include "ops/row_sketch.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::cuda_devices;
using test::normal;
using test::shared_allocator;
using test::values_of;

RandomStream draw(std::int64_t step) { return {.seed = 7, .step = step, .site = 3}; }

/// x, f64 on the CPU, in another dtype on the context's device.
Tensor sent(const Context& ctx, const Tensor& x, DType dtype) {
  const Tensor cast_x(shared_allocator(Device{}), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(cast_x, x);
  return to_device(cast_x, ctx.allocator(), MemoryTag::kWorkspace);
}

/// |a - b| / |b|, in Euclidean norms.
double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

#ifdef GHOST_HAS_CUDA

template <typename T>
std::vector<T> elements_of(const Tensor& x) {
  const Tensor host = on_host(x);
  const auto span = host.span<T>();
  return {span.begin(), span.end()};
}

void check_bins(const DeviceBins& on_gpu, const RowBins& expected) {
  CHECK(elements_of<std::int32_t>(on_gpu.offsets) == expected.offsets);
  CHECK(elements_of<std::int32_t>(on_gpu.rows) == expected.rows);
  const std::vector<float> weights(expected.weights.begin(), expected.weights.end());
  CHECK(elements_of<float>(on_gpu.weights) == weights);
  CHECK(on_gpu.cover_first == expected.cover_first);
  CHECK(on_gpu.cover_last == expected.cover_last);
  CHECK(on_gpu.num_outputs == expected.num_outputs);
}

struct Size {
  std::int64_t rows;
  std::int64_t rank;
};
constexpr Size kSizes[] = {{1, 1}, {5, 2}, {33, 33}, {257, 16}, {1000, 999}, {70001, 300}};

TEST_CASE("a GPU hashes rows into the bins of the CPU", "[ops][cuda]") {
  for (const Device& device : cuda_devices()) {
    const Context ctx(shared_allocator(device));
    for (const auto& [rows, rank] : kSizes) {
      for (const HashKind hash :
           {HashKind::kBalanced, HashKind::kIndependent, HashKind::kWindowed}) {
        INFO(rows << " rows, rank " << rank << ", " << enum_name(hash));
        check_bins(cuda::hashed_bins(ctx, draw(rows), rows, rank, hash),
                   hashed_bins(draw(rows), rows, rank, hash));
      }
      CHECK(elements_of<std::int32_t>(cuda::drawn_rows(ctx, draw(2), rows, rank, /*word=*/2)) ==
            drawn_rows(draw(2), rows, rank, /*word=*/2));
      check_bins(cuda::covering_bins(ctx, rows), covering_bins(rows));
    }
  }
}

TEST_CASE("bins of groups and picked rows are those of the CPU", "[ops][cuda]") {
  constexpr std::int64_t kRows = 3001;
  constexpr std::int64_t kGroups = 70;
  const Tensor group_of(shared_allocator(Device{}), {2, kRows}, DType::kU16, MemoryTag::kWorkspace);
  for (std::int64_t i = 0; i < 2 * kRows; ++i) {
    group_of.data<std::uint16_t>()[i] = static_cast<std::uint16_t>(i * i % 67);  // some are empty
  }
  for (const Device& device : cuda_devices()) {
    const Context ctx(shared_allocator(device));
    const Tensor there = to_device(group_of, ctx.allocator(), MemoryTag::kWorkspace);
    const RowBins of_levels = group_bins(group_of, kGroups);
    const DeviceBins groups = cuda::group_bins(ctx, there, kGroups);
    check_bins(groups, of_levels);
    check_bins(cuda::joined_bins(ctx, groups,
                                 cuda::hashed_bins(ctx, draw(1), kRows, 9, HashKind::kBalanced)),
               joined_bins(of_levels, hashed_bins(draw(1), kRows, 9, HashKind::kBalanced)));
    const std::vector<double> weights(11, 1.5);
    const Tensor weights_there = ctx.empty({11}, DType::kF32);
    fill(weights_there, 1.5);
    check_bins(cuda::picked_bins(ctx, cuda::drawn_rows(ctx, draw(4), kRows, 11, /*word=*/0),
                                 weights_there, kRows),
               picked_bins(drawn_rows(draw(4), kRows, 11, /*word=*/0), weights, kRows));
  }
}

TEST_CASE("one pass gathers rows, their squares and their sum", "[ops][cuda]") {
  for (const Device& device : cuda_devices()) {
    const Context ctx(shared_allocator(device));
    for (const auto& [rows, columns, rank] :
         {std::array<std::int64_t, 3>{1, 1, 1}, {300, 33, 7}, {5000, 264, 3}, {999, 1040, 400}}) {
      INFO(rows << " rows, " << columns << " columns, rank " << rank);
      const Tensor x = normal({rows, columns}, 1);
      const RowBins bins = hashed_bins(draw(1), rows, rank, HashKind::kIndependent);
      const Tensor expected(shared_allocator(Device{}), {rank, columns}, DType::kF64,
                            MemoryTag::kWorkspace);
      const Tensor sums(shared_allocator(Device{}), {columns}, DType::kF64, MemoryTag::kWorkspace);
      double squared_norm = 0;
      cpu::gather_rows({.x = x,
                        .bins = &bins,
                        .out = expected,
                        .squared_norm = &squared_norm,
                        .column_sums = sums});
      const DeviceBins there = cuda::bins_on_device(ctx, bins);
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const std::int64_t piece : {rows, (rows + 2) / 3}) {
          const Tensor out = ctx.empty({rank, columns}, DType::kF32);
          const Tensor norm = ctx.zeros({1}, DType::kF64);
          const Tensor column_sums = ctx.empty({columns}, DType::kF32);
          const Tensor all = sent(ctx, x, dtype);
          for (std::int64_t begin = 0; begin < rows; begin += piece) {
            cuda::gather_rows(ctx, {.x = all.slice(begin, std::min(rows, begin + piece)),
                                    .columns = columns,
                                    .first_row = begin,
                                    .bins = &there,
                                    .out = out,
                                    .accumulate = begin > 0,
                                    .squared_norm = norm,
                                    .column_sums = column_sums,
                                    .accumulate_column_sums = begin > 0});
          }
          const double tolerance = dtype == DType::kF32 ? 1e-5 : 1e-2;
          CHECK(relative_error(values_of(out), values_of(expected)) < tolerance);
          CHECK(relative_error(values_of(column_sums), values_of(sums)) < tolerance);
          CHECK(values_of(norm)[0] == Approx(squared_norm).epsilon(tolerance));
        }
      }
    }
  }
}

#endif  // GHOST_HAS_CUDA

/// dW of a linear whose x and dy are sketched, dy in two pieces, and db.
std::vector<double> estimate(Context& ctx, const Tensor& x, const Tensor& dy,
                             const SketchConfig& config, std::int64_t rank) {
  const std::int64_t rows = x.dim(0);
  const DType dtype = statistic_dtype(x.dtype());
  const auto sketch = std::make_shared<const RowSketch>(ctx, x, config, draw(1), rank);
  GradientSketch gradient(ctx, sketch, dy.dim(1));
  const Tensor db = ctx.empty({dy.dim(1)}, dtype);
  gradient.add(ctx, dy.slice(0, rows / 2), 0, GradientTarget{.grad = db});
  gradient.add(ctx, dy.slice(rows / 2, rows), rows / 2, GradientTarget{.grad = db});
  const Tensor dw = ctx.empty({dy.dim(1), x.dim(1)}, dtype);
  gradient.write(ctx, {.grad = dw}, "test");
  auto out = values_of(dw);
  const auto sums = values_of(db);
  out.insert(out.end(), sums.begin(), sums.end());
  return out;
}

std::vector<std::pair<std::string, SketchConfig>> all_forms() {
  std::vector<std::pair<std::string, SketchConfig>> forms;
  const auto add = [&](const std::string& name, const auto& change) {
    SketchConfig config;
    change(config);
    forms.emplace_back(name, config);
  };
  add("balanced", [](SketchConfig& /*c*/) {});
  add("independent", [](SketchConfig& c) { c.hash = HashKind::kIndependent; });
  add("windowed", [](SketchConfig& c) { c.hash = HashKind::kWindowed; });
  add("plain", [](SketchConfig& c) { c.invariant = false; });
  add("bounded", [](SketchConfig& c) { c.gamma_max = 0.5; });
  add("rademacher", [](SketchConfig& c) { c.sketch = SketchMethod::kRademacher; });
  add("gaussian", [](SketchConfig& c) { c.sketch = SketchMethod::kGaussian; });
  add("srht", [](SketchConfig& c) { c.sketch = SketchMethod::kSrht; });
  add("uniform", [](SketchConfig& c) { c.rows = SampledRows::kUniform; });
  add("norm", [](SketchConfig& c) { c.rows = SampledRows::kNorm; });
  add("wta", [](SketchConfig& c) { c.rows = SampledRows::kWta; });
  add("wiener", [](SketchConfig& c) {
    c.wiener = true;
    c.invariant = false;
  });
  add("mean", [](SketchConfig& c) { c.center = Centering::kMean; });
  add("token", [](SketchConfig& c) { c.center = Centering::kToken; });
  add("target, dropped", [](SketchConfig& c) {
    c.center = Centering::kTarget;
    c.remainder = Remainder::kDrop;
  });
  add("nearest", [](SketchConfig& c) { c.center = Centering::kNearest; });
  add("nearest of all columns", [](SketchConfig& c) {
    c.center = Centering::kNearest;
    c.projection = 0;
  });
  add("nearest with targets, three levels, dropped", [](SketchConfig& c) {
    c.center = Centering::kNearest;
    c.features = GroupFeatures::kInputTarget;
    c.levels = 3;
    c.remainder = Remainder::kDrop;
  });
  add("blocks of channels", [](SketchConfig& c) {
    c.center = Centering::kNearest;
    c.levels = 2;
    c.blocks = 7;
    c.remainder = Remainder::kDrop;
  });
  return forms;
}

TEST_CASE("sketches on a GPU are those of the CPU", "[ops][cuda]") {
  // Columns past 64: nearest of all columns goes by products.
  constexpr std::int64_t kRows = 515;
  const Tensor x = normal({kRows, 77}, 1);
  const Tensor dy = normal({kRows, 40}, 2);
  const Tensor tokens = test::integers({kRows}, 12, 3);
  const Tensor targets = test::integers({kRows}, 5000, 4);
  for (const Device& device : cuda_devices()) {
    for (const auto& [name, config] : all_forms()) {
      INFO(name);
      const auto run = [&](const std::shared_ptr<Allocator>& allocator, DType dtype) {
        Context ctx(allocator);
        StateStore store(allocator);
        ctx.attach_state_store(&store);
        ctx.set_row_labels({.tokens = to_device(tokens, allocator, MemoryTag::kWorkspace),
                            .targets = to_device(targets, allocator, MemoryTag::kWorkspace)});
        return estimate(ctx, sent(ctx, x, dtype), sent(ctx, dy, dtype), config, /*rank=*/36);
      };
      const auto expected = run(shared_allocator(Device{}), DType::kF32);
      CHECK(relative_error(run(shared_allocator(device), DType::kF32), expected) < 1e-4);
      const auto once = run(shared_allocator(device), DType::kBF16);
      CHECK(run(shared_allocator(device), DType::kBF16) == once);
      // In bf16 a row may be nearest to another anchor, and by its length another one be picked.
      const bool is_chosen = config.center == Centering::kNearest ||
                             config.rows == SampledRows::kNorm || config.rows == SampledRows::kWta;
      if (!is_chosen) {
        CHECK(relative_error(once, expected) < 2e-2);
      }
    }
  }
}

/// Loss, dx and dweight of the head.
struct Head {
  double loss;
  std::vector<double> dx;
  std::vector<double> dweight;
};

Head run_head(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& targets,
              const ResidualsConfig& config = {}) {
  ctx.begin_pass(/*seed=*/1, /*step=*/0);
  Tape tape{ResidualPlan(config)};
  const Tensors leaves{tape.watch(x), tape.watch(weight)};
  const Context::Recording recording(ctx, &tape);
  const Tensor there = to_device(targets, ctx.allocator(), MemoryTag::kWorkspace);
  const Tensor loss = linear_cross_entropy(ctx, leaves[0], leaves[1], there);
  const Tensor cotangent = ctx.empty({1, 1}, loss.dtype());
  fill(cotangent, 0.5);
  const Tensors grads = tape.vjp(ctx, std::span(&loss, 1), std::span(&cotangent, 1), leaves);
  return {values_of(loss)[0], values_of(grads[0]), values_of(grads[1])};
}

TEST_CASE("the head's sketch on a GPU is that of the CPU", "[ops][cuda]") {
  const Tensor x = normal({300, 24}, 1);
  const Tensor weight = normal({5001, 24}, 2);
  const Tensor targets = test::integers({300}, 5001, 3);
  for (const Device& device : cuda_devices()) {
    for (const SketchMethod method : {SketchMethod::kCount, SketchMethod::kRademacher}) {
      const ResidualsConfig config{.rules = {{.keep = Keep::kSketch}},
                                   .sketch = {.rank = 16, .sketch = method}};
      const auto run = [&](const Device& on, DType dtype) {
        Context ctx(shared_allocator(on));
        return run_head(ctx, sent(ctx, x, dtype), sent(ctx, weight, dtype), targets, config);
      };
      const Head expected = run(Device{}, DType::kF32);
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        const Head got = run(device, dtype);
        const double tolerance = dtype == DType::kF32 ? 1e-4 : 2e-2;
        CHECK(got.loss == Approx(expected.loss).epsilon(tolerance));
        CHECK(relative_error(got.dx, expected.dx) < tolerance);
        CHECK(relative_error(got.dweight, expected.dweight) < tolerance);
      }
    }
  }
}

TEST_CASE("a GPU's head is the same in chunks", "[ops][cuda][slow]") {
  // 16,400 rows x 65,536 logits are too many to hold, and five chunks.
  constexpr std::int64_t kRows = 16400;
  constexpr std::int64_t kParts = 8;
  for (const Device& device : cuda_devices()) {
    Context ctx(shared_allocator(device));
    const Tensor x = sent(ctx, normal({kRows, 8}, 1), DType::kF32);
    const Tensor weight = sent(ctx, normal({65536, 8}, 2), DType::kF32);
    const Tensor targets = test::integers({kRows}, 65536, 3);
    const Head whole = run_head(ctx, x, weight, targets);
    Head sum{.loss = 0, .dx = {}, .dweight = std::vector<double>(whole.dweight.size(), 0.0)};
    for (std::int64_t begin = 0; begin < kRows; begin += kRows / kParts) {
      const std::int64_t end = begin + kRows / kParts;
      const Head part = run_head(ctx, x.slice(begin, end), weight, targets.slice(begin, end));
      sum.loss += part.loss / kParts;
      for (const double value : part.dx) {
        sum.dx.push_back(value / kParts);
      }
      for (std::size_t i = 0; i < part.dweight.size(); ++i) {
        sum.dweight[i] += part.dweight[i] / kParts;
      }
    }
    CHECK(whole.loss == Approx(sum.loss).epsilon(1e-5));
    CHECK(relative_error(sum.dx, whole.dx) < 1e-5);
    CHECK(relative_error(sum.dweight, whole.dweight) < 1e-4);
  }
}

TEST_CASE("a bad target makes a GPU's loss NaN", "[ops][cuda]") {
  for (const Device& device : cuda_devices()) {
    Context ctx(shared_allocator(device));
    const Tensor x = sent(ctx, normal({3, 4}, 1), DType::kF32);
    const Tensor weight = sent(ctx, normal({7, 4}, 2), DType::kF32);
    CHECK(std::isfinite(run_head(ctx, x, weight, test::tokens_of({3}, {6, -1, 0})).loss));
    CHECK(std::isnan(run_head(ctx, x, weight, test::tokens_of({3}, {7, -1, 0})).loss));
    CHECK(std::isnan(run_head(ctx, x, weight, test::tokens_of({3}, {-1, -1, -1})).loss));
  }
}

}  // namespace
}  // namespace ghost
