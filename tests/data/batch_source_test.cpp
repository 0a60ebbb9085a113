#include "data/batch_source.h"

#include <numeric>
#include <set>

#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

/// Tokens 0, 1, 2, ... so that each tells its own index.
class CountingData : public TestDir {
 public:
  explicit CountingData(std::int32_t count) {
    Tokens tokens(static_cast<std::size_t>(count));
    std::iota(tokens.begin(), tokens.end(), 0);
    write_token_shard(*this / "a.bin", tokens, count);
  }
  TokenDataset open() const { return TokenDataset({*this / "a.bin"}, {}); }
  std::string file() const { return (*this / "a.bin").string(); }
};

struct Batch {
  Batch(const BatchSource& source, const BatchPosition& position, std::size_t size)
      : inputs(size), targets(size) {
    source.fill(position, inputs, targets);
  }
  Tokens inputs;
  Tokens targets;
};

TEST_CASE("targets are the inputs one token later", "[data]") {
  const CountingData dir(1000);
  const TokenDataset dataset = dir.open();
  for (const auto kind : {SamplerKind::kRandom, SamplerKind::kShuffled, SamplerKind::kSequential}) {
    const BatchSource source(dataset, kind, {.batch_size = 3, .seq_len = 8}, /*seed=*/1);
    const Batch batch(source, {.step = 5}, 24);
    for (std::size_t i = 0; i < 24; ++i) {
      CHECK(batch.targets[i] == batch.inputs[i] + 1);
      CHECK((i % 8 == 0 || batch.inputs[i] == batch.inputs[i - 1] + 1));
    }
  }
}

TEST_CASE("sequential batches read the stream in order", "[data]") {
  const CountingData dir(9);
  const TokenDataset dataset = dir.open();
  const BatchSource source(dataset, SamplerKind::kSequential, {.batch_size = 2, .seq_len = 2}, 1);
  CHECK(Batch(source, {.step = 0}, 4).inputs == Tokens{0, 1, 2, 3});
  CHECK(Batch(source, {.step = 1}, 4).inputs == Tokens{4, 5, 6, 7});
  CHECK(Batch(source, {.step = 2}, 4).inputs == Tokens{0, 1, 2, 3});
}

TEST_CASE("a step holds the same sequences on any number of replicas", "[data]") {
  const CountingData dir(5000);
  const TokenDataset dataset = dir.open();
  for (const auto kind : {SamplerKind::kRandom, SamplerKind::kShuffled, SamplerKind::kSequential}) {
    const BatchSource source(dataset, kind, {.batch_size = 2, .seq_len = 4}, /*seed=*/3);
    for (const std::int64_t step : {0, 1, 77}) {
      std::set<Tokens> layouts;
      for (const std::int64_t world_size : {1, 2, 4}) {
        const std::int64_t micro_steps = 4 / world_size;
        Tokens all;
        for (std::int64_t micro_step = 0; micro_step < micro_steps; ++micro_step) {
          for (std::int64_t rank = 0; rank < world_size; ++rank) {
            const Batch batch(source,
                              {.step = step,
                               .micro_step = micro_step,
                               .micro_steps = micro_steps,
                               .rank = rank,
                               .world_size = world_size},
                              8);
            all.insert(all.end(), batch.inputs.begin(), batch.inputs.end());
          }
        }
        layouts.insert(all);
      }
      CHECK(layouts.size() == 1);
    }
  }
}

TEST_CASE("fixed evaluation batches cover the set once", "[data]") {
  const CountingData dir(27);
  const TokenDataset dataset = dir.open();
  const EvalBatches eval(dataset, EvalWindows::kFixed, {.batch_size = 2, .seq_len = 4}, 0);
  REQUIRE(eval.num_batches() == 3);  // 6 whole windows in 26 tokens
  Tokens inputs(8);
  Tokens targets(8);
  eval.fill(/*evaluation=*/5, 2, inputs, targets);
  CHECK(inputs == Tokens{16, 17, 18, 19, 20, 21, 22, 23});
  CHECK(
      EvalBatches(dataset, EvalWindows::kFixed, {.batch_size = 2, .seq_len = 4}, 2).num_batches() ==
      2);
  CHECK_THROWS_WITH(eval.fill(0, 3, inputs, targets), "evaluation batch 3 asked for; there are 3");
}

TEST_CASE("stream batches share no token and skip what they are told to", "[data]") {
  const CountingData dir(17);  // 5 runs of 3 tokens
  const TokenDataset dataset = dir.open();
  const BatchShape shape{.batch_size = 2, .seq_len = 2};
  const BatchSource source(dataset, SamplerKind::kStream, shape, 1);
  CHECK(source.windows_per_epoch() == 5);
  CHECK(Batch(source, {.step = 0}, 4).inputs == Tokens{0, 1, 3, 4});
  CHECK(Batch(source, {.step = 0}, 4).targets == Tokens{1, 2, 4, 5});
  CHECK(Batch(source, {.step = 2}, 4).inputs == Tokens{12, 13, 0, 1});
  const BatchSource later(dataset, SamplerKind::kStream, shape, 1, /*skip_windows=*/1);
  CHECK(Batch(later, {.step = 0}, 4).inputs == Tokens{3, 4, 6, 7});
  CHECK_THROWS_WITH(BatchSource(dataset, SamplerKind::kStream, shape, 1, -1),
                    dir.file() + ": -1 windows to skip; expected zero or more");
}

TEST_CASE("each evaluation of a stream goes on where the last one ended", "[data]") {
  const CountingData dir(16);  // 5 runs of 3 tokens
  const TokenDataset dataset = dir.open();
  const EvalBatches eval(dataset, EvalWindows::kStream, {.batch_size = 1, .seq_len = 2}, 2);
  REQUIRE(eval.num_batches() == 2);
  const auto first = [&](std::int64_t evaluation, std::int64_t batch) {
    Tokens inputs(2);
    Tokens targets(2);
    eval.fill(evaluation, batch, inputs, targets);
    CHECK(targets == Tokens{inputs[0] + 1, inputs[0] + 2});
    return inputs[0];
  };
  CHECK(first(0, 0) == 0);
  CHECK(first(0, 1) == 3);
  CHECK(first(1, 0) == 6);
  CHECK(first(2, 1) == 0);  // number 5: again from the start
  CHECK(first(1, 0) == 6);  // whatever was asked for before
}

TEST_CASE("evaluations are numbered by their step", "[data]") {
  CHECK(evaluation_at(1000, 1000) == 0);
  CHECK(evaluation_at(2000, 1000) == 1);
  CHECK(evaluation_at(2500, 1000) == 2);  // after the last step
  CHECK(evaluation_at(2500, 0) == 0);
  CHECK(evaluation_at(0, 1000) == 0);
}

TEST_CASE("random evaluation batches repeat with their seed", "[data]") {
  const CountingData dir(1000);
  const TokenDataset dataset = dir.open();
  const auto first = [&](std::uint64_t seed) {
    const EvalBatches eval(dataset, EvalWindows::kRandom, {.batch_size = 2, .seq_len = 4}, 500,
                           seed);
    CHECK(eval.num_batches() == 500);
    Tokens inputs(8);
    Tokens targets(8);
    eval.fill(0, 499, inputs, targets);
    return inputs;
  };
  CHECK(first(1) == first(1));
  CHECK(first(1) != first(2));
}

TEST_CASE("data that is too short is refused by name", "[data]") {
  const CountingData dir(9);
  const TokenDataset dataset = dir.open();
  CHECK_THROWS_WITH(BatchSource(dataset, SamplerKind::kRandom, {.batch_size = 1, .seq_len = 9}, 0),
                    dir.file() + ": 9 tokens; seq_len 9 needs at least 10");
  CHECK_THROWS_WITH(EvalBatches(dataset, EvalWindows::kFixed, {.batch_size = 3, .seq_len = 4}, 0),
                    dir.file() + ": 2 windows of 4 tokens; one evaluation batch needs 3");
}

TEST_CASE("batches of the wrong size or place are refused", "[data]") {
  const CountingData dir(100);
  const TokenDataset dataset = dir.open();
  CHECK_THROWS_WITH(BatchSource(dataset, SamplerKind::kRandom, {.batch_size = 0, .seq_len = 9}, 0),
                    dir.file() + ": batch_size is 0; expected a positive number");
  const BatchSource source(dataset, SamplerKind::kRandom, {.batch_size = 2, .seq_len = 4}, 0);
  CHECK_THROWS_WITH(Batch(source, {}, 7),
                    "batch of 7 inputs and 7 targets; expected 2 x 4 of each");
  CHECK_THROWS_WITH(Batch(source, {.step = 3, .rank = 2, .world_size = 2}, 8),
                    "batch position: step 3, micro-step 0 of 1, rank 2 of 2; expected each inside "
                    "of its range");
}

}  // namespace
}  // namespace ghost
