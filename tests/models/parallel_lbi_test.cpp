#include "models/lbi/parallel_lbi.h"

#include <map>
#include <numeric>
#include <omp.h>

#include "engine/autograd/resident_parameters.h"
#include "engine/comm/self_communicator.h"
#include "engine/comm/thread_communicator.h"
#include "engine/tensor/primitives.h"
#include "models/grid_reductions.h"
#include "ops/optim/optimizer.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_lbi_model.h"

namespace ghost {
namespace {

/// Of sums in another order, and what 20 steps of the optimizer make of it.
double rounding(DType dtype) { return dtype == DType::kF64 ? 1e-12 : 1e-5; }

constexpr std::int64_t kBatch = 2;
constexpr std::int64_t kSeqLen = 7;
constexpr std::int64_t kChannels = 6;
constexpr std::int64_t kItem = 8;  // bytes of an f64

using MakeLayers = std::unique_ptr<LayeredModel> (*)();

struct Job {
  RegionsConfig config;
  MakeLayers make = nullptr;
  int replicas = 1;  // batches a step, as micro-steps where there are fewer replicas
  int steps = 20;
  DType dtype = DType::kF64;
};

struct Step {
  double loss = 0;
  double norm = 0;
  std::map<std::string, std::vector<double>> gradients;  // of parameters that are here
};

struct RankTrace {
  std::vector<Step> steps;
  MessageCounts counts{};                        // of the last step
  std::map<std::string, std::int64_t> elements;  // of parameters that are here
  double adjoint_rms = 0;
};

/// What one rank sees of a training run.
RankTrace train(Communicator& world, const Job& job, int region_ranks) {
  omp_set_num_threads(1);
  RankGrid grid(world, region_ranks);
  Context ctx(Device{});
  std::unique_ptr<LanguageModel> model = std::make_unique<LbiModel>(job.config, job.make());
  ParallelLbi* parallel = nullptr;
  if (region_ranks > 1) {
    auto spread =
        std::make_unique<ParallelLbi>(std::make_unique<LbiModel>(job.config, job.make()), grid);
    parallel = spread.get();
    model = std::move(spread);
  }
  ParameterStore& store = model->parameters();
  materialize_residents(
      store, [&](const Parameter& p) { return parallel == nullptr || parallel->is_here(p); },
      ctx.allocator(), job.dtype);
  test::fill_tiny_values(store);
  const auto optimizer = make_optimizer({}, ctx, store);
  const std::int64_t micro_steps = job.replicas / grid.num_replicas();
  const Tensor losses = ctx.zeros({micro_steps}, job.dtype);

  RankTrace trace;
  for (int step = 0; step < job.steps; ++step) {
    grid.reset_counts();
    store.begin_gradients();
    for (std::int64_t micro_step = 0; micro_step < micro_steps; ++micro_step) {
      const auto batch = static_cast<std::uint64_t>(
          step * job.replicas + micro_step * grid.num_replicas() + grid.replica());
      const auto draw = [&](std::uint64_t seed) {
        return test::integers({kBatch, kSeqLen}, model->vocab_size(), seed);
      };
      Tape tape;
      const Context::Recording recording(ctx, &tape);
      ctx.begin_pass(/*seed=*/1, step, micro_step, world.rank());
      const Tensor loss = model->loss(ctx, draw(2 * batch), draw(2 * batch + 1));
      tape.backward(ctx, loss, 1.0 / job.replicas);
      copy(losses.slice(micro_step, micro_step + 1), loss);
    }
    store.finish_gradients();
    sum_gradients(grid, store);
    const StepNumbers numbers =
        step_numbers(ctx, grid, store, all_losses(ctx, grid, losses), /*max_norm=*/0.5);
    Step seen{.loss = item(numbers.loss()), .norm = item(numbers.norm())};
    for (const auto& parameter : store.all()) {
      if (is_resident(*parameter)) {
        seen.gradients[parameter->name] = test::values_of(parameter->grad);
        trace.elements[parameter->name] = parameter->shape.numel();
      }
    }
    trace.steps.push_back(std::move(seen));
    optimizer->step(ctx, store, {.lr = 3e-3, .grad_scale = numbers.factor(), .step = step + 1});
    if (parallel != nullptr) {
      trace.adjoint_rms = std::max(trace.adjoint_rms, parallel->last_backward().adjoint_rms);
    }
  }
  trace.counts = grid.counts();
  return trace;
}

RankTrace train_alone(const Job& job) {
  SelfCommunicator world;
  return train(world, job, 1);
}

std::vector<RankTrace> train_on_grid(const Job& job, int region_ranks) {
  std::vector<RankTrace> traces(static_cast<std::size_t>(job.replicas * region_ranks));
  run_ranks(job.replicas * region_ranks, {.timeout = std::chrono::seconds(60)},
            [&](Communicator& world) {
              traces[static_cast<std::size_t>(world.rank())] = train(world, job, region_ranks);
            });
  return traces;
}

/// Largest difference of losses, norms and gradients: over the loss, the norm, and the largest
/// number of the model's gradient.
double largest_difference(const RankTrace& trace, const RankTrace& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < expected.steps.size(); ++i) {
    const Step& step = trace.steps.at(i);
    const Step& other = expected.steps[i];
    largest = std::max({largest, std::abs(step.loss - other.loss) / other.loss,
                        std::abs(step.norm - other.norm) / other.norm});
    double scale = 0;
    for (const auto& [name, values] : other.gradients) {
      for (const double value : values) {
        scale = std::max(scale, std::abs(value));
      }
    }
    double difference = 0;
    for (const auto& [name, values] : step.gradients) {
      const auto& wanted = other.gradients.at(name);
      for (std::size_t at = 0; at < values.size(); ++at) {
        difference = std::max(difference, std::abs(values[at] - wanted[at]));
      }
    }
    largest = std::max(largest, difference / scale);
  }
  return largest;
}

/// Every rank's numbers are those of one process, and every parameter is on one region rank.
void check_grid(const Job& job, int region_ranks, const RankTrace& expected) {
  const auto traces = train_on_grid(job, region_ranks);
  std::map<std::string, int> copies;
  for (const RankTrace& trace : traces) {
    CHECK(largest_difference(trace, expected) <= rounding(job.dtype));
    CHECK(trace.adjoint_rms <= rounding(job.dtype));
    for (const auto& [name, elements] : trace.elements) {
      ++copies[name];
    }
  }
  CHECK(copies.size() == expected.elements.size());
  for (const auto& [name, count] : copies) {
    CHECK(count == job.replicas);
  }
}

Job make_job(MakeLayers make, std::int64_t layers_per_region, RegionsBackward backward) {
  Job job{.config = test::tiny_regions().front(), .make = make};
  job.config.layers_per_region = layers_per_region;
  job.config.backward = backward;
  job.config.serial_regions = 1;
  return job;
}

TEST_CASE("A grid of 2 x 3 ranks trains as one process, all layers", "[models]") {
  for (const auto& [name, make] : test::tiny_layers()) {
    INFO(name);
    Job job = make_job(make, /*layers_per_region=*/2, RegionsBackward::kScan);
    job.replicas = 2;
    check_grid(job, 3, train_alone(job));
  }
}

TEST_CASE("A grid of 2 x 2 ranks trains as one process in f32", "[models]") {
  for (const auto& [name, make] : test::tiny_layers()) {
    INFO(name);
    Job job = make_job(make, /*layers_per_region=*/1, RegionsBackward::kScan);
    job.replicas = 2;
    job.dtype = DType::kF32;
    check_grid(job, 2, train_alone(job));
  }
}

TEST_CASE("A tied embedding is in one place of a grid", "[models]") {
  for (const RegionsBackward backward :
       {RegionsBackward::kScan, RegionsBackward::kSerialAdjoint, RegionsBackward::kHybrid}) {
    INFO(enum_name(backward));
    Job job = make_job(test::tiny_tied_gpt, /*layers_per_region=*/1, backward);
    job.replicas = 2;
    const RankTrace expected = train_alone(job);
    for (const int region_ranks : {3, 5}) {
      INFO(region_ranks << " region ranks");
      check_grid(job, region_ranks, expected);
    }
  }
}

TEST_CASE("Two to four ranks share five regions", "[models]") {
  for (const RegionsBackward backward : {RegionsBackward::kScan, RegionsBackward::kHybrid}) {
    const Job job = make_job(test::tiny_tied_gpt, /*layers_per_region=*/1, backward);
    const RankTrace expected = train_alone(job);
    for (const int region_ranks : {2, 3, 4}) {
      INFO(enum_name(backward) << ", " << region_ranks << " region ranks");
      check_grid(job, region_ranks, expected);
    }
  }
}

TEST_CASE("Every variant of regions trains on a grid", "[models]") {
  for (const RegionsConfig& config : test::tiny_regions()) {
    INFO(enum_name(config.variant));
    Job job =
        make_job(test::tiny_layers().back().make, /*layers_per_region=*/1, RegionsBackward::kScan);
    job.config.variant = config.variant;
    job.steps = 3;
    check_grid(job, 4, train_alone(job));
  }
}

Job scanned(Job job) {
  job.config.exchange = SuffixExchange::kScan;
  return job;
}

/// What rank `k` of R moves in a step of one micro-step, kind by kind: the table of docs/lbi.md.
struct Bytes {
  std::int64_t sent = 0;
  std::int64_t received = 0;
};
std::map<MessageKind, Bytes> closed_form(int k, int region_ranks, int num_serial, int replicas,
                                         SuffixExchange exchange, std::int64_t state_bytes,
                                         std::int64_t pullback_bytes,
                                         std::int64_t parameter_bytes) {
  const std::int64_t canvas_bytes = kBatch * kSeqLen * kChannels * kItem;
  const int last = region_ranks - 1;
  const int owner = last - num_serial;  // of the seed
  const auto if_true = [](bool condition, std::int64_t bytes) { return condition ? bytes : 0; };
  const bool gathers = owner > 1 && k < owner;
  std::map<MessageKind, Bytes> bytes;
  bytes[MessageKind::kCanvas] = {if_true(k == last, canvas_bytes), if_true(k < last, canvas_bytes)};
  bytes[MessageKind::kState] = {if_true(k < last, state_bytes), if_true(k > 0, state_bytes)};
  bytes[MessageKind::kPullbacks] = {if_true(gathers, pullback_bytes),
                                    if_true(gathers, (owner - 1) * pullback_bytes)};
  if (exchange == SuffixExchange::kScan) {
    Bytes& scanned =
        bytes[MessageKind::kPullbacks] = {if_true(gathers && k > 0, pullback_bytes),
                                          if_true(gathers && k + 1 < owner, pullback_bytes)};
    for (int distance = 1; distance < owner - 1; distance *= 2) {
      scanned.sent += if_true(k >= distance && k < owner - 1, pullback_bytes);
      scanned.received += if_true(k + distance < owner - 1, pullback_bytes);
    }
  }
  bytes[MessageKind::kAdjoint] = {if_true(k >= owner && k > 0, state_bytes),
                                  if_true(k < last, state_bytes)};
  bytes[MessageKind::kLoss] = {if_true(k == last, kItem) + if_true(replicas > 1, kItem),
                               if_true(k < last, kItem) + (replicas - 1) * kItem};
  bytes[MessageKind::kCanvasGradient] = {if_true(k < last, canvas_bytes),
                                         if_true(k == last, canvas_bytes)};
  bytes[MessageKind::kGradients] = {if_true(replicas > 1, parameter_bytes),
                                    if_true(replicas > 1, parameter_bytes)};
  bytes[MessageKind::kNorm] = {kItem, kItem};
  bytes[MessageKind::kControl] = {0, 0};
  return bytes;
}

void check_bytes(const Job& job, int region_ranks, int num_serial, std::int64_t slots) {
  const std::int64_t width = slots * job.config.state_dim;
  const auto traces = train_on_grid(job, region_ranks);
  for (std::size_t rank = 0; rank < traces.size(); ++rank) {
    const RankTrace& trace = traces[rank];
    const std::int64_t elements =
        std::accumulate(trace.elements.begin(), trace.elements.end(), std::int64_t{0},
                        [](std::int64_t sum, const auto& entry) { return sum + entry.second; });
    const auto expected =
        closed_form(static_cast<int>(rank) % region_ranks, region_ranks, num_serial, job.replicas,
                    job.config.exchange, kBatch * width * kItem, kBatch * width * width * kItem,
                    elements * kItem);
    for (const auto& [kind, bytes] : expected) {
      INFO("rank " << rank << ", " << enum_name(kind));
      const CommCount& count = trace.counts[static_cast<std::size_t>(kind)];
      CHECK(count.sent_bytes == bytes.sent);
      CHECK(count.received_bytes == bytes.received);
    }
  }
}

TEST_CASE("A step moves the bytes of the closed forms", "[models]") {
  Job job = make_job(test::tiny_tied_gpt, /*layers_per_region=*/1, RegionsBackward::kScan);
  job.steps = 1;
  for (const int region_ranks : {2, 3, 5}) {
    INFO(region_ranks << " region ranks");
    check_bytes(job, region_ranks, /*num_serial=*/0, /*slots=*/1);
    check_bytes(scanned(job), region_ranks, /*num_serial=*/0, /*slots=*/1);
  }
  job.replicas = 2;
  check_bytes(job, 3, /*num_serial=*/0, /*slots=*/1);
  job.config.variant = RegionsVariant::kChunked;
  check_bytes(job, 4, /*num_serial=*/0, /*slots=*/3);
  job.config.variant = RegionsVariant::kPaper;
  job.config.backward = RegionsBackward::kHybrid;  // one serial region
  check_bytes(job, 5, /*num_serial=*/1, /*slots=*/1);
  check_bytes(scanned(job), 5, /*num_serial=*/1, /*slots=*/1);
  job.config.backward = RegionsBackward::kSerialAdjoint;
  check_bytes(job, 4, /*num_serial=*/3, /*slots=*/1);
}

TEST_CASE("Ranks get the same adjoints by a scan as by an all-gather", "[models]") {
  for (const SuffixMethod suffix : {SuffixMethod::kChain, SuffixMethod::kScan}) {
    Job job =
        make_job(test::tiny_layers().back().make, /*layers_per_region=*/1, RegionsBackward::kScan);
    job.config.suffix = suffix;
    job.steps = 3;
    const RankTrace expected = train_alone(job);
    for (const int region_ranks : {2, 3, 4, 5}) {
      INFO(region_ranks << " region ranks");
      check_grid(scanned(job), region_ranks, expected);
    }
    job.config.backward = RegionsBackward::kHybrid;
    check_grid(scanned(job), 5, expected);
  }
}

TEST_CASE("Evaluation on a grid gives one process's loss", "[models]") {
  const Job job = make_job(test::tiny_tied_gpt, /*layers_per_region=*/1, RegionsBackward::kScan);
  test::TinyLbiModel tiny(job.config, job.make());
  std::vector<double> losses(3);
  run_ranks(3, {}, [&](Communicator& world) {
    RankGrid grid(world, 3);
    ParallelLbi model(std::make_unique<LbiModel>(job.config, job.make()), grid);
    Context ctx(Device{});
    materialize_residents(
        model.parameters(), [&](const Parameter& p) { return model.is_here(p); }, ctx.allocator(),
        DType::kF64);
    test::fill_tiny_values(model.parameters());
    losses[static_cast<std::size_t>(world.rank())] =
        item(model.loss(ctx, test::integers({2, 7}, 11, 1), test::integers({2, 7}, 11, 2)));
  });
  for (const double loss : losses) {
    CHECK(loss == tiny.loss());
  }
}

TEST_CASE("Ranks that do not fit the regions are refused", "[models]") {
  const auto refusal = [](const RegionsConfig& config, std::int64_t region_ranks) -> std::string {
    try {
      validate_region_ranks(config, /*num_regions=*/3, region_ranks);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  RegionsConfig config;
  CHECK(refusal(config, 1).empty());
  CHECK(refusal(config, 4) ==
        "parallel.region_ranks is 4; expected at most the 3 regions of the model");
  CHECK(refusal(config, 2) ==
        "model.regions.backward is tape; expected scan, serial_adjoint or hybrid where "
        "parallel.region_ranks is 2");
  config.backward = RegionsBackward::kScan;
  CHECK(refusal(config, 2).empty());
  config.ablation = StateAblation::kZeroAll;
  CHECK(refusal(config, 2) ==
        "model.regions.ablation is zero_all; expected none where parallel.region_ranks is 2");
}

TEST_CASE("Ranks that do not make a grid are refused on every rank", "[models]") {
  std::vector<std::string> messages(4);
  run_ranks(4, {}, [&](Communicator& world) {
    try {
      const RankGrid grid(world, 3);
    } catch (const ConfigError& error) {
      messages[static_cast<std::size_t>(world.rank())] = error.what();
    }
  });
  for (const std::string& message : messages) {
    CHECK(message == "parallel.region_ranks is 3; expected a divisor of the 4 ranks of the job");
  }
}

TEST_CASE("A model on a grid makes no text", "[models]") {
  run_ranks(2, {}, [&](Communicator& world) {
    RankGrid grid(world, 2);
    const Job job = make_job(test::tiny_tied_gpt, 2, RegionsBackward::kScan);
    ParallelLbi model(std::make_unique<LbiModel>(job.config, job.make()), grid);
    Context ctx(Device{});
    GenerationState state;
    const std::string message =
        "a model whose regions are spread over ranks makes no text; expected "
        "parallel.region_ranks 1 for logits and generation";
    if (world.rank() == 0) {
      CHECK_THROWS_WITH(model.logits(ctx, {}), message);
      CHECK_THROWS_WITH(model.start(ctx, 1, 1), message);
      CHECK_THROWS_WITH(model.step(ctx, {}, state), message);
    }
  });
}

}  // namespace
}  // namespace ghost
