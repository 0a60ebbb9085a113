#include "models/replica_factors.h"

#include <map>
#include <omp.h>

#include "engine/comm/thread_communicator.h"
#include "models/grid_reductions.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_lbi_model.h"

namespace ghost {
namespace {

constexpr std::int64_t kChannels = 6;
constexpr std::int64_t kLayers = 5;

struct Job {
  int replicas = 2;
  int micro_steps = 1;
  SketchConfig sketch;
  bool is_tied = true;
};

std::unique_ptr<LayeredModel> model_of(const Job& job) {
  return job.is_tied ? test::tiny_tied_gpt() : test::tiny_layers()[0].make();
}

struct Summed {
  std::map<std::string, std::vector<double>> gradients;
  MessageCounts counts{};
};

/// What one replica of a GPT has after a step.
Summed step_of_rank(Communicator& world, const Job& job, bool by_factors) {
  omp_set_num_threads(1);
  RankGrid grid(world, /*region_ranks=*/1);
  Context ctx(Device{});
  const auto model = model_of(job);
  ParameterStore& store = model->parameters();
  store.materialize(ctx.allocator(), DType::kF64);
  test::fill_tiny_values(store);
  ReplicaFactors factors(grid, job.micro_steps);
  if (by_factors) {
    ctx.attach_factor_exchange(&factors);
  }
  store.begin_gradients();
  for (int micro_step = 0; micro_step < job.micro_steps; ++micro_step) {
    Tape tape(ResidualPlan(
        {.rules = {{.role = "linear_input", .keep = Keep::kSketch}}, .sketch = job.sketch}));
    const Context::Recording recording(ctx, &tape);
    ctx.begin_pass(/*seed=*/1, /*step=*/0, micro_step, world.rank());
    const auto draw = [&](int which) {
      const int batch = 2 * (micro_step * job.replicas + world.rank()) + which;
      return test::integers({2, 7}, 11, static_cast<std::uint64_t>(batch));
    };
    tape.backward(ctx, model->loss(ctx, draw(0), draw(1)), 1.0 / job.replicas);
  }
  store.finish_gradients();
  sum_gradients(grid, store, by_factors ? &factors : nullptr);
  Summed summed{.counts = grid.counts()};
  for (const auto& parameter : store.all()) {
    summed.gradients[parameter->name] = test::values_of(parameter->grad);
  }
  return summed;
}

std::vector<Summed> step_of_all(const Job& job, bool by_factors) {
  std::vector<Summed> ranks(static_cast<std::size_t>(job.replicas));
  run_ranks(job.replicas, {.timeout = std::chrono::seconds(60)}, [&](Communicator& world) {
    ranks[static_cast<std::size_t>(world.rank())] = step_of_rank(world, job, by_factors);
  });
  return ranks;
}

const CommCount& count(const Summed& summed, MessageKind kind) {
  return summed.counts[static_cast<std::size_t>(kind)];
}

TEST_CASE("Gradients summed by their factors are the sums of the products", "[models]") {
  const SketchConfig kForms[] = {
      {.rank = 2},
      {.rank = 2, .sketch = SketchMethod::kRademacher},
      {.rank = 2, .rows = SampledRows::kWta, .invariant = false, .lambda = 0},
      {.rank = 3, .center = Centering::kNearest},
      {.rank = 2,
       .invariant = false,
       .center = Centering::kNearest,
       .remainder = Remainder::kDrop,
       .levels = 2,
       .blocks = 2},
  };
  for (const SketchConfig& sketch : kForms) {
    for (const auto& [replicas, micro_steps] : {std::pair{2, 1}, {2, 2}, {3, 1}}) {
      INFO(enum_name(sketch.sketch) << ", rank " << sketch.rank << ", " << replicas << " replicas, "
                                    << micro_steps << " micro-steps");
      const Job job{.replicas = replicas, .micro_steps = micro_steps, .sketch = sketch};
      const auto expected = step_of_all(job, /*by_factors=*/false);
      for (const Summed& summed : step_of_all(job, /*by_factors=*/true)) {
        if (replicas == 2 && micro_steps == 1) {
          CHECK(count(summed, MessageKind::kFactors).calls > 0);
        }
        for (const auto& [name, values] : expected[0].gradients) {
          INFO(name);
          CHECK(test::relative_difference(summed.gradients.at(name), values) <= 1e-12);
        }
      }
    }
  }
}

TEST_CASE("A head of its own goes by its factors, a tied one as its product", "[models]") {
  for (const bool is_tied : {false, true}) {
    INFO("tied: " << is_tied);
    const Job job{.sketch = {.rank = 1}, .is_tied = is_tied};
    const auto expected = step_of_all(job, /*by_factors=*/false);
    const auto exchanged = step_of_all(job, /*by_factors=*/true);
    for (const auto& [name, values] : expected[0].gradients) {
      INFO(name);
      CHECK(test::relative_difference(exchanged[1].gradients.at(name), values) <= 1e-12);
    }
    std::int64_t numbers = kLayers * (24 + 12 + 30 + 30);  // M + N of the four linears of a block
    if (!is_tied) {
      numbers += model_of(job)->padded_vocab_size() + kChannels;
    }
    CHECK(count(exchanged[0], MessageKind::kFactors).sent_bytes == 8 * numbers);
  }
}

// Of a block's weights [18, 6], [6, 6], [24, 6] and [6, 24] two ranks exchange those as factors for
// which D R (M + N) a micro-step is less than 2 M N.
TEST_CASE("Factors move their bytes, and no more than the products", "[models]") {
  const std::int64_t shapes[][2] = {{3 * kChannels, kChannels},
                                    {kChannels, kChannels},
                                    {4 * kChannels, kChannels},
                                    {kChannels, 4 * kChannels}};
  for (const auto& [rank, micro_steps] : {std::pair{2, 1}, {2, 2}, {3, 2}, {8, 1}}) {
    INFO("rank " << rank << ", " << micro_steps << " micro-steps");
    const Job job{.micro_steps = micro_steps, .sketch = {.rank = rank}};
    std::int64_t factors = 0;  // numbers that a rank sends
    std::int64_t products = 0;
    for (const auto& [m, n] : shapes) {
      if (micro_steps * 2 * rank * (m + n) < 2 * m * n) {
        factors += kLayers * micro_steps * rank * (m + n);
        products += kLayers * m * n;
      }
    }
    const auto reduced = step_of_all(job, /*by_factors=*/false);
    const auto exchanged = step_of_all(job, /*by_factors=*/true);
    for (std::size_t i = 0; i < exchanged.size(); ++i) {
      const CommCount& of_factors = count(exchanged[i], MessageKind::kFactors);
      const CommCount& of_products = count(exchanged[i], MessageKind::kGradients);
      CHECK(of_factors.sent_bytes == 8 * factors);
      CHECK(of_factors.received_bytes == 8 * factors);
      CHECK(of_products.sent_bytes ==
            count(reduced[i], MessageKind::kGradients).sent_bytes - 8 * products);
    }
  }
}

}  // namespace
}  // namespace ghost
