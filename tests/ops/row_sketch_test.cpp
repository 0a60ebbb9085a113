#include "ops/row_sketch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <omp.h>

#include "engine/autograd/state_store.h"
#include "engine/config/fields.h"
#include "ops/dense_sketch.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/row_groups_kernels.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

// Small, with rows of different lengths and a common direction.
Tensor rows_with_mean(const Shape& shape, std::uint64_t seed) {
  auto values = values_of(normal(shape, seed));
  const auto cols = static_cast<std::size_t>(shape[1]);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = (values[i] + 0.5) * (1 + static_cast<double>(i / cols % 3));
  }
  return test::tensor_of(shape, values);
}

struct Layer {
  Tensor x;
  Tensor dy;
};

Layer layer(std::int64_t rows) {
  return {rows_with_mean({rows, 5}, 1), rows_with_mean({rows, 4}, 2)};
}

RandomStream draw(std::int64_t step) { return {.seed = 7, .step = step, .site = 3}; }

std::vector<double> estimate(const Layer& in, const SketchConfig& config, std::int64_t rank,
                             std::int64_t step) {
  Context ctx(Device{});
  const auto sketch = std::make_shared<const RowSketch>(ctx, in.x, config, draw(step), rank);
  GradientSketch gradient(ctx, sketch, in.dy.dim(1));
  gradient.add(ctx, in.dy, 0);
  const Tensor dw = ctx.empty({in.dy.dim(1), in.x.dim(1)}, DType::kF64);
  gradient.write(ctx, {.grad = dw}, "test");
  return values_of(dw);
}

std::vector<double> exact_gradient(const Layer& in) {
  const auto x = values_of(in.x);
  const auto dy = values_of(in.dy);
  const auto n = static_cast<std::size_t>(in.x.dim(1));
  const auto m = static_cast<std::size_t>(in.dy.dim(1));
  std::vector<double> out(n * m, 0.0);
  for (std::size_t b = 0; b < static_cast<std::size_t>(in.x.dim(0)); ++b) {
    for (std::size_t j = 0; j < m; ++j) {
      for (std::size_t i = 0; i < n; ++i) {
        out[j * n + i] += dy[b * m + j] * x[b * n + i];
      }
    }
  }
  return out;
}

double squared_norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) {
    sum += value * value;
  }
  return sum;
}

struct Moments {
  std::vector<double> mean;
  double variance = 0;       // E |dW - G|^2
  double error_of_mean = 0;  // standard deviation of |mean - G| if the mean is G
};

Moments moments(const Layer& in, const SketchConfig& config, std::int64_t rank,
                std::int64_t draws) {
  const auto exact = exact_gradient(in);
  Moments out{.mean = std::vector<double>(exact.size(), 0.0)};
  for (std::int64_t step = 0; step < draws; ++step) {
    const auto dw = estimate(in, config, rank, step);
    for (std::size_t i = 0; i < dw.size(); ++i) {
      out.mean[i] += dw[i] / static_cast<double>(draws);
      out.variance += (dw[i] - exact[i]) * (dw[i] - exact[i]) / static_cast<double>(draws);
    }
  }
  out.error_of_mean = std::sqrt(out.variance / static_cast<double>(draws));
  return out;
}

double distance(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] -= b[i];
  }
  return std::sqrt(squared_norm(a));
}

SketchConfig plain() { return {.invariant = false, .lambda = 0}; }

// What the closed forms of the variance are made of.
struct Sums {
  double x = 0;         // |X|^2
  double dy = 0;        // |dY|^2
  double gradient = 0;  // |G|^2
  double rows = 0;      // sum |x_i|^2 |g_i|^2
  double lengths = 0;   // sum |x_i|
  double weighted = 0;  // sum |x_i| |g_i|^2
};

Sums sums_of(const Layer& in) {
  Sums out{.x = squared_norm(values_of(in.x)),
           .dy = squared_norm(values_of(in.dy)),
           .gradient = squared_norm(exact_gradient(in))};
  for (std::int64_t b = 0; b < in.x.dim(0); ++b) {
    const double a = squared_norm(values_of(in.x.slice(b, b + 1)));
    const double c = squared_norm(values_of(in.dy.slice(b, b + 1)));
    out.rows += a * c;
    out.lengths += std::sqrt(a);
    out.weighted += std::sqrt(a) * c;
  }
  return out;
}

double collisions_balanced(double rows, double rank) {
  const double q = std::floor(rows / rank);
  const double t = rows - q * rank;
  return q * (2 * t + rank * (q - 1)) / (rows * (rows - 1));
}

TEST_CASE("plain estimators have the mean and variance of the closed forms", "[ops]") {
  constexpr std::int64_t kRows = 24;
  constexpr std::int64_t kRank = 5;
  constexpr std::int64_t kDraws = 20000;
  const Layer in = layer(kRows);
  const Sums sums = sums_of(in);
  const double pairs = sums.x * sums.dy + sums.gradient - 2 * sums.rows;
  const double rows = kRows;
  const double rank = kRank;
  struct Case {
    SketchConfig config;
    double variance;
  };
  std::vector<Case> cases;
  const auto add = [&](auto&& change, double variance) {
    SketchConfig config = plain();
    change(config);
    cases.push_back({config, variance});
  };
  add([](SketchConfig&) {}, collisions_balanced(rows, rank) * pairs);
  add([](SketchConfig& c) { c.hash = HashKind::kIndependent; }, pairs / rank);
  add([](SketchConfig& c) { c.sketch = SketchMethod::kRademacher; }, pairs / rank);
  add([](SketchConfig& c) { c.sketch = SketchMethod::kGaussian; },
      (sums.x * sums.dy + sums.gradient) / rank);
  add([](SketchConfig& c) { c.rows = SampledRows::kUniform; },
      rows * (rows - rank) / (rank * (rows - 1)) * (sums.rows - sums.gradient / rows));
  add([](SketchConfig& c) { c.rows = SampledRows::kNorm; },
      (sums.lengths * sums.weighted - sums.gradient) / rank);
  for (const Case& each : cases) {
    INFO(enum_name(each.config.sketch)
         << " " << enum_name(each.config.hash) << " " << enum_name(each.config.rows));
    const Moments got = moments(in, each.config, kRank, kDraws);
    CHECK(distance(got.mean, exact_gradient(in)) < 4 * got.error_of_mean);
    CHECK(got.variance == Approx(each.variance).epsilon(0.05));
  }
}

TEST_CASE("estimators without a closed form are unbiased too", "[ops]") {
  constexpr std::int64_t kDraws = 8000;
  const Layer in = layer(24);
  const auto exact = exact_gradient(in);
  std::vector<SketchConfig> configs(5, plain());
  configs[0].hash = HashKind::kWindowed;
  configs[1].sketch = SketchMethod::kSrht;
  configs[2].rows = SampledRows::kWta;
  configs[3].center = Centering::kMean;
  configs[4].center = Centering::kNearest;
  for (const SketchConfig& config : configs) {
    INFO(write_config(config));
    const Moments got = moments(in, config, 6, kDraws);
    CHECK(distance(got.mean, exact) < 4 * got.error_of_mean);
  }
}

TEST_CASE("centring on the mean lowers the variance where rows share one", "[ops]") {
  const Layer in = layer(24);
  SketchConfig centred = plain();
  centred.center = Centering::kMean;
  CHECK(moments(in, centred, 6, 2000).variance < 0.8 * moments(in, plain(), 6, 2000).variance);
}

TEST_CASE("wta does not do worse than drawing by length", "[ops]") {
  const Layer in = layer(24);
  SketchConfig norm = plain();
  norm.rows = SampledRows::kNorm;
  SketchConfig wta = plain();
  wta.rows = SampledRows::kWta;
  CHECK(moments(in, wta, 10, 4000).variance < 1.02 * moments(in, norm, 10, 4000).variance);
}

TEST_CASE("as many bins as rows give the exact gradient", "[ops]") {
  const Layer in = layer(13);
  const auto exact = exact_gradient(in);
  std::vector<SketchConfig> configs(6, plain());
  configs[1].hash = HashKind::kWindowed;
  configs[2].rows = SampledRows::kUniform;
  configs[3].invariant = true;  // both scales are 1 to within 1e-8
  configs[4].center = Centering::kNearest;
  configs[4].remainder = Remainder::kDrop;
  configs[4].kmeans_rounds = 0;
  configs[5] = configs[4];
  configs[5].projection = 4;
  for (const SketchConfig& config : configs) {
    INFO(write_config(config));
    const double scale = std::sqrt(squared_norm(exact));
    CHECK(distance(estimate(in, config, 13, 1), exact) < 1e-7 * scale);
  }
}

TEST_CASE("group means give the sum over groups of mean times sum", "[ops]") {
  const Layer in = layer(12);
  SketchConfig config = plain();
  config.center = Centering::kNearest;
  config.remainder = Remainder::kDrop;
  Context ctx(Device{});
  const RowGroups groups = form_groups(ctx, in.x, config, 4, draw(1));
  REQUIRE(groups.num_groups() == 4);
  // dW = sum_g (sum of dy)^T (mean of x), by the definition
  const auto x = values_of(in.x);
  const auto dy = values_of(in.dy);
  std::vector<double> expected(20, 0.0);
  for (std::uint16_t g = 0; g < 4; ++g) {
    std::vector<double> mean(5, 0.0);
    std::vector<double> sum(4, 0.0);
    double count = 0;
    for (std::size_t b = 0; b < 12; ++b) {
      if (groups.group_of.span<std::uint16_t>()[b] == g) {
        ++count;
        for (std::size_t i = 0; i < 5; ++i) {
          mean[i] += x[b * 5 + i];
        }
        for (std::size_t j = 0; j < 4; ++j) {
          sum[j] += dy[b * 4 + j];
        }
      }
    }
    for (std::size_t j = 0; j < 4 && count > 0; ++j) {
      for (std::size_t i = 0; i < 5; ++i) {
        expected[j * 5 + i] += sum[j] * mean[i] / count;
      }
    }
  }
  CHECK(distance(estimate(in, config, 4, 1), expected) < 1e-12);
}

using Rows = std::vector<std::vector<double>>;
using Groups = std::vector<std::vector<std::uint16_t>>;  // [levels, rows]

std::size_t nearest_of(const Rows& codewords, const std::vector<double>& row) {
  const auto distance_to = [&](const std::vector<double>& codeword) {
    double sum = 0;
    for (std::size_t k = 0; k < row.size(); ++k) {
      sum += (row[k] - codeword[k]) * (row[k] - codeword[k]);
    }
    return sum;
  };
  const auto is_nearer = [&](const auto& a, const auto& b) {
    return distance_to(a) < distance_to(b);
  };
  return static_cast<std::size_t>(std::min_element(codewords.begin(), codewords.end(), is_nearer) -
                                  codewords.begin());
}

void subtract(std::vector<double>& row, const std::vector<double>& codeword) {
  std::transform(row.begin(), row.end(), codeword.begin(), row.begin(), std::minus<>());
}

/// The means of the rows of each group; a group without rows keeps what it had.
Rows means_of(const Rows& rows, const std::vector<std::uint16_t>& group_of, Rows before) {
  for (std::size_t g = 0; g < before.size(); ++g) {
    std::vector<double> sum(rows[0].size(), 0.0);
    double count = 0;
    for (std::size_t b = 0; b < rows.size(); ++b) {
      if (group_of[b] == g) {
        ++count;
        std::transform(sum.begin(), sum.end(), rows[b].begin(), sum.begin(), std::plus<>());
      }
    }
    for (std::size_t k = 0; k < sum.size() && count > 0; ++k) {
      before[g][k] = sum[k] / count;
    }
  }
  return before;
}

/// What each row is nearest to, level after level; the rows lose it.
Groups groups_of(Rows rows, const std::vector<Rows>& codewords) {
  Groups out;
  for (const Rows& level : codewords) {
    out.emplace_back();
    for (auto& row : rows) {
      out.back().push_back(static_cast<std::uint16_t>(nearest_of(level, row)));
      subtract(row, level[out.back().back()]);
    }
  }
  return out;
}

// The definition, with the rows themselves where the kernel has products.
Groups groups_by_definition(const Rows& rows, const SketchConfig& config, std::size_t groups,
                            const RandomStream& stream) {
  const auto levels = static_cast<std::size_t>(config.levels);
  const auto drawn =
      drawn_rows(stream, static_cast<std::int64_t>(rows.size()),
                 config.samples * static_cast<std::int64_t>(groups * levels), kSampleWord);
  Rows samples;
  for (const std::int32_t row : drawn) {
    samples.push_back(rows[static_cast<std::size_t>(row)]);
  }
  std::vector<Rows> codewords;
  for (std::size_t level = 0; level < levels; ++level) {
    const auto first = samples.begin() + static_cast<std::ptrdiff_t>(level * groups);
    Rows of_level(first, first + static_cast<std::ptrdiff_t>(groups));
    for (std::int64_t round = 0; round < config.kmeans_rounds; ++round) {
      of_level = means_of(samples, groups_of(samples, {of_level})[0], of_level);
    }
    for (auto& sample : samples) {
      subtract(sample, of_level[nearest_of(of_level, sample)]);
    }
    codewords.push_back(of_level);
  }
  Groups out = groups_of(rows, codewords);
  for (std::int64_t refit = 0; refit < config.refits; ++refit) {
    Rows left = rows;  // less the means of the levels before
    for (std::size_t level = 0; level < levels; ++level) {
      codewords[level] =
          means_of(left, out[level], Rows(groups, std::vector<double>(rows[0].size(), 0.0)));
      for (std::size_t b = 0; b < rows.size(); ++b) {
        subtract(left[b], codewords[level][out[level][b]]);
      }
    }
    out = groups_of(rows, codewords);
  }
  return out;
}

TEST_CASE("rows go to the nearest codeword of each level", "[ops]") {
  constexpr std::int64_t kRows = 150;
  constexpr std::int64_t kColumns = 14;
  const Tensor x = normal({kRows, kColumns}, 8);
  const auto values = values_of(x);
  for (const auto& [blocks, levels, samples, rounds, refits] :
       {std::array{1, 1, 1, 0, 0}, std::array{1, 1, 4, 2, 1}, std::array{1, 3, 1, 0, 2},
        std::array{2, 4, 2, 3, 0}, std::array{7, 2, 3, 1, 1}, std::array{1, 5, 7, 1, 3}}) {
    SketchConfig config = plain();
    config.center = Centering::kNearest;
    config.remainder = Remainder::kDrop;
    config.blocks = blocks;
    config.levels = levels;
    config.samples = samples;
    config.kmeans_rounds = rounds;
    config.refits = refits;
    INFO(write_config(config));
    Context ctx(Device{});
    const RowGroups groups = form_groups(ctx, x, config, 20, draw(3));
    REQUIRE(groups.group_of.dim(0) == blocks * levels);
    for (std::int64_t block = 0; block < blocks; ++block) {
      Rows rows;
      for (auto row = values.begin(); row != values.end(); row += kColumns) {
        const auto first = row + block * (kColumns / blocks);
        rows.emplace_back(first, first + kColumns / blocks);
      }
      const auto expected = groups_by_definition(
          rows, config, static_cast<std::size_t>(groups.groups_per_level), draw(3));
      for (std::int64_t level = 0; level < levels; ++level) {
        const auto of = groups.of_block(block).slice(level, level + 1).span<std::uint16_t>();
        CHECK(std::vector(of.begin(), of.end()) == expected[static_cast<std::size_t>(level)]);
      }
    }
  }
}

// Each block of columns of dW is that of its own groups.
TEST_CASE("blocks of channels are sketched each for itself", "[ops]") {
  constexpr std::int64_t kBlocks = 3;
  const Tensor x = rows_with_mean({200, 12}, 3);
  const Tensor dy = normal({200, 7}, 4);
  SketchConfig config = plain();
  config.center = Centering::kNearest;
  config.remainder = Remainder::kDrop;
  config.levels = 2;
  config.blocks = kBlocks;
  const auto whole = estimate({x, dy}, config, 32, 1);
  const auto values = values_of(x);
  config.blocks = 1;
  for (std::int64_t block = 0; block < kBlocks; ++block) {
    std::vector<double> columns;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (static_cast<std::int64_t>(i % 12 / 4) == block) {
        columns.push_back(values[i]);
      }
    }
    const Tensor part = test::tensor_of({200, 4}, columns);
    const auto expected = estimate({part, dy}, config, 32, 1);
    for (std::size_t j = 0; j < 7; ++j) {
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(whole[j * 12 + static_cast<std::size_t>(block) * 4 + i] ==
              Approx(expected[j * 4 + i]).epsilon(1e-12));
      }
    }
  }
  config.blocks = 5;
  CHECK_THROWS_WITH(estimate({x, dy}, config, 32, 1),
                    "residuals.sketch.blocks is 5 in : 12 channels; expected a number that divides "
                    "them");
}

// dW = X^T P dY with P the projection onto what the groups of all levels span, once the means are
// the best ones; a few sweeps come near it, and more levels leave less.
TEST_CASE("levels of groups leave less of x than one", "[ops]") {
  const Tensor x = rows_with_mean({200, 12}, 3);
  const Layer in{x, x};  // then |G - dW| is |E|^2 at the best means
  const auto exact = exact_gradient(in);
  double last = std::sqrt(squared_norm(exact));
  for (const std::int64_t levels : {1, 2, 4, 8}) {
    SketchConfig config = plain();
    config.center = Centering::kNearest;
    config.remainder = Remainder::kDrop;
    config.samples = 7;  // all rows
    config.levels = levels;
    const double left = distance(estimate(in, config, 32, 1), exact);
    CHECK(left < 0.9 * last);
    last = left;
  }
}

TEST_CASE("rows that are equal within their groups lose nothing by dropping the rest", "[ops]") {
  // 30 rows, three different ones: three groups hold all there is to know.
  const auto kinds = values_of(normal({3, 5}, 1));
  std::vector<double> x;
  for (std::size_t b = 0; b < 30; ++b) {
    for (std::size_t i = 0; i < 5; ++i) {
      x.push_back(kinds[b % 3 * 5 + i]);
    }
  }
  const Layer in{test::tensor_of({30, 5}, x), normal({30, 4}, 2)};
  SketchConfig config = plain();
  config.center = Centering::kNearest;
  config.remainder = Remainder::kDrop;
  const auto exact = exact_gradient(in);
  CHECK(distance(estimate(in, config, 12, 1), exact) < 1e-12 * std::sqrt(squared_norm(exact)));
}

TEST_CASE("groups by label follow the labels", "[ops]") {
  Context ctx(Device{});
  const Layer in = layer(8);
  SketchConfig config = plain();
  config.center = Centering::kToken;
  CHECK_THROWS_WITH(form_groups(ctx, in.x, config, 4, draw(1)),
                    "residuals.sketch.center is token in : 8 rows have 0 labels; expected one a "
                    "row");
  ctx.set_row_labels({.tokens = test::tokens_of({8}, {0, 1, 2, 1, 0, 3, 3, 1}),
                      .targets = test::tokens_of({8}, {900, 7, 900, 7, 7, 41, 41, 900})});
  const RowGroups tokens = form_groups(ctx, in.x, config, 4, draw(1));
  const auto by_token = tokens.group_of.span<std::uint16_t>();
  CHECK(std::vector<int>(by_token.begin(), by_token.end()) ==
        std::vector<int>{0, 1, 2, 1, 0, 3, 3, 1});
  config.center = Centering::kTarget;
  const RowGroups targets = form_groups(ctx, in.x, config, 4, draw(1));
  const auto by_target = targets.group_of.span<std::uint16_t>();
  CHECK(by_target[0] == by_target[2]);
  CHECK(by_target[0] == by_target[7]);
  CHECK(by_target[5] == by_target[6]);
  for (const std::uint16_t group : by_target) {
    CHECK(group < 4);
  }
}

TEST_CASE("bins of a balanced hash differ by one row at most", "[ops]") {
  for (std::int64_t rows = 1; rows <= 200; ++rows) {
    for (std::int64_t wanted = 1; wanted <= rows + 3; ++wanted) {
      const std::int64_t rank = std::min(wanted, rows);
      for (const HashKind hash : {HashKind::kBalanced, HashKind::kWindowed}) {
        const RowBins bins = hashed_bins(draw(rows), rows, rank, hash);
        REQUIRE(bins.num_bins() == rank);
        std::int64_t larger = 0;
        for (std::size_t r = 0; r < static_cast<std::size_t>(rank); ++r) {
          const std::int64_t size = bins.offsets[r + 1] - bins.offsets[r];
          REQUIRE((size == rows / rank || size == rows / rank + 1));
          larger += size - rows / rank;
        }
        REQUIRE(larger == rows % rank);
      }
    }
  }
}

TEST_CASE("a window's rows never share a bin", "[ops]") {
  const RowBins bins = hashed_bins(draw(1), 40, 8, HashKind::kWindowed);
  for (std::size_t r = 0; r < 8; ++r) {
    std::vector<bool> seen(5, false);
    for (auto i = static_cast<std::size_t>(bins.offsets[r]);
         i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
      const auto window = static_cast<std::size_t>(bins.rows[i] / 8);
      CHECK_FALSE(seen[window]);
      seen[window] = true;
    }
  }
}

TEST_CASE("a sketch is the same on any number of threads and in any pieces", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({300, 130}, 1);
  const Tensor dy = normal({300, 700}, 2);
  for (const SampledRows rows : {SampledRows::kAll, SampledRows::kUniform, SampledRows::kNorm}) {
    SketchConfig config;
    config.rows = rows;
    const auto run = [&](int threads, std::int64_t piece) {
      const int before = omp_get_max_threads();
      omp_set_num_threads(threads);
      const auto sketch = std::make_shared<const RowSketch>(ctx, x, config, draw(1), 17);
      GradientSketch gradient(ctx, sketch, 700);
      const Tensor db = ctx.empty({700}, DType::kF64);
      for (std::int64_t begin = 0; begin < 300; begin += piece) {
        gradient.add(ctx, dy.slice(begin, std::min<std::int64_t>(300, begin + piece)), begin,
                     GradientTarget{.grad = db});
      }
      const Tensor dw = ctx.empty({700, 130}, DType::kF64);
      gradient.write(ctx, {.grad = dw}, "test");
      omp_set_num_threads(before);
      auto out = values_of(dw);
      const auto sums = values_of(db);
      out.insert(out.end(), sums.begin(), sums.end());
      return out;
    };
    const auto whole = run(1, 300);
    CHECK(run(2, 300) == whole);
    CHECK(run(3, 300) == whole);
    CHECK(distance(run(2, 77), whole) < 1e-12 * std::sqrt(squared_norm(whole)));
  }
}

TEST_CASE("another step, layer, micro-step or rank draws another hash", "[ops]") {
  const RandomStream base{.seed = 7, .step = 3, .site = 2};
  const auto rows_of = [](const RandomStream& stream) {
    return hashed_bins(stream, 64, 8, HashKind::kBalanced).rows;
  };
  const auto rows = rows_of(base);
  CHECK(rows_of(base) == rows);
  for (int word = 0; word < 5; ++word) {
    RandomStream other = base;
    (word == 0   ? other.step
     : word == 1 ? other.site
     : word == 2 ? other.micro_step
                 : other.rank) += 1;
    other.seed += word == 4 ? 1 : 0;
    CHECK(rows_of(other) != rows);
  }
}

TEST_CASE("no cotangent gives no gradient, equal rows that cancel no NaN", "[ops]") {
  Context ctx(Device{});
  const Layer zero{normal({10, 5}, 1), ctx.zeros({10, 4}, DType::kF64)};
  const Layer equal{test::tensor_of({8, 5}, std::vector<double>(40, 1.25)), normal({8, 4}, 1)};
  for (const Centering center : {Centering::kNone, Centering::kMean, Centering::kNearest}) {
    SketchConfig config;
    config.center = center;
    CHECK(squared_norm(estimate(zero, config, 3, 1)) == 0);
    for (std::int64_t step = 0; step < 50; ++step) {
      CHECK(std::isfinite(squared_norm(estimate(equal, config, 2, step))));
    }
  }
}

TEST_CASE("gamma_max bounds both scales", "[ops]") {
  const Layer in = layer(24);
  SketchConfig config = plain();
  const auto plain_estimate = estimate(in, config, 2, 5);
  config.invariant = true;
  config.gamma_max = 1e-3;
  const auto bounded = estimate(in, config, 2, 5);
  CHECK(std::sqrt(squared_norm(bounded)) ==
        Approx(1e-6 * std::sqrt(squared_norm(plain_estimate))).epsilon(1e-9));
}

TEST_CASE("wiener shrinks towards the share of signal", "[ops]") {
  // Many draws with the same x and dy: the running means settle, and the factor is |G|^2 / E|dW|^2.
  const Layer in = layer(24);
  SketchConfig config = plain();
  config.wiener = true;
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ctx.attach_state_store(&store);
  double factor = 0;
  for (std::int64_t step = 0; step < 600; ++step) {
    const auto sketch = std::make_shared<const RowSketch>(ctx, in.x, config, draw(step), 4);
    GradientSketch gradient(ctx, sketch, 4);
    gradient.add(ctx, in.dy, 0);
    const Tensor dw = ctx.empty({4, 5}, DType::kF64);
    gradient.write(ctx, {.grad = dw}, "test");
    const auto bare = estimate(in, plain(), 4, step);
    if (step >= 100) {
      factor += std::sqrt(squared_norm(values_of(dw)) / squared_norm(bare)) / 500;
    }
  }
  const Sums sums = sums_of(in);
  const double variance =
      collisions_balanced(24, 4) * (sums.x * sums.dy + sums.gradient - 2 * sums.rows);
  CHECK(factor == Approx(sums.gradient / (sums.gradient + variance)).epsilon(0.1));
  REQUIRE(store.all().size() == 1);
  CHECK(store.all().begin()->first == "wiener.test");
}

// A linear under a plan, its weight gradient and what it keeps.
struct Run {
  Tensors grads;
  std::int64_t sketch_bytes = 0;
  std::int64_t sketches = 0;
};

Run run_linears(const ResidualsConfig& config) {
  Context ctx(Device{});
  ctx.begin_pass(/*seed=*/1, /*step=*/0);
  Tape tape{ResidualPlan(config)};
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(normal({20, 6}, 1));
  const Tensor a = tape.watch(normal({3, 6}, 2));
  const Tensor b = tape.watch(normal({3, 6}, 3));
  const Tensors y{linear(ctx, x, a, {}), linear(ctx, x, b, {})};
  Run run{.sketch_bytes = ctx.meter().current(MemoryTag::kSketches),
          .sketches = ctx.next_stream(Purpose::kSketch).site};
  const Tensors dy{normal({1, 20, 3}, 4), normal({1, 20, 3}, 5)};
  run.grads = tape.vjp(ctx, y, dy, Tensors{x, a, b});
  return run;
}

TEST_CASE("linears that share an input share its sketch, and dx is exact", "[ops]") {
  const Run exact = run_linears({});
  const Run sketched = run_linears({.rules = {{.keep = Keep::kSketch}}, .sketch = {.rank = 4}});
  CHECK(exact.sketch_bytes == 0);
  CHECK(sketched.sketch_bytes == 4 * 6 * 8);
  CHECK(sketched.sketches == 1);
  CHECK(values_of(sketched.grads[0]) == values_of(exact.grads[0]));
  CHECK(values_of(sketched.grads[1]) != values_of(exact.grads[1]));
}

TEST_CASE("a rule's rank goes before the plan's", "[ops]") {
  const Run run = run_linears(
      {.rules = {{.keep = Keep::kSketch, .rank_fraction = 0.4}}, .sketch = {.rank = 4}});
  CHECK(run.sketch_bytes == 8 * 6 * 8);
}

TEST_CASE("a head kept as a sketch has the exact dx", "[ops]") {
  // 16384 f64 logits: 512 rows to a chunk, so 700 rows make two.
  const auto run = [](const ResidualsConfig& config) {
    Context ctx(Device{});
    Tape tape{ResidualPlan(config)};
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(normal({700, 3}, 1));
    const Tensor weight = tape.watch(normal({16384, 3}, 2));
    const Tensor loss = linear_cross_entropy(ctx, x, weight, test::integers({700}, 16384, 3), {});
    const Tensor dloss = test::tensor_of({1, 1}, {0.25});
    return tape.vjp(ctx, std::span(&loss, 1), std::span(&dloss, 1), Tensors{x, weight});
  };
  const Tensors exact = run({});
  SketchConfig full = plain();
  full.rank = 700;
  const Tensors sketched = run({.rules = {{.keep = Keep::kSketch}}, .sketch = full});
  CHECK(test::relative_difference(sketched[0], exact[0]) < 1e-13);
  CHECK(test::relative_difference(sketched[1], exact[1]) < 1e-13);
  full.rank = 20;
  const Tensors rough = run({.rules = {{.keep = Keep::kSketch}}, .sketch = full});
  CHECK(test::relative_difference(rough[0], exact[0]) < 1e-13);
  CHECK(values_of(rough[1]) != values_of(exact[1]));
}

TEST_CASE("ranks follow their schedule and never exceed the rows", "[ops]") {
  CHECK(sketch_rank({.rank = 8}, 64, 0.5) == 8);
  CHECK(sketch_rank({.rank = 80}, 64, 0.5) == 64);
  CHECK(sketch_rank({.rank_fraction = 0.25}, 64, 0) == 16);
  CHECK(sketch_rank({.rank_fraction = 0.001}, 64, 0) == 1);
  const SketchConfig linear{.rank = 8, .schedule = RankSchedule::kLinear, .final_rank = 24};
  CHECK(sketch_rank(linear, 64, 0) == 8);
  CHECK(sketch_rank(linear, 64, 0.5) == 16);
  CHECK(sketch_rank(linear, 64, 1) == 24);
}

}  // namespace
}  // namespace ghost
