#include "data/sampler.h"

#include <set>

#include "tests/support/catch.h"

namespace ghost {
namespace {

std::vector<std::int64_t> starts(SamplerKind kind, const SampledStream& stream, std::int64_t first,
                                 std::int64_t count) {
  const auto sampler = make_sampler(kind, stream);
  std::vector<std::int64_t> result;
  for (std::int64_t i = first; i < first + count; ++i) {
    result.push_back(sampler->start(i));
  }
  return result;
}

using Starts = std::vector<std::int64_t>;

TEST_CASE("sequential windows follow each other and wrap", "[data]") {
  // 11 tokens over two shards hold (11 - 1) / 4 = 2 windows with their last target.
  const SampledStream stream = {.shard_tokens = {5, 6}, .seq_len = 4};
  CHECK(starts(SamplerKind::kSequential, stream, 0, 5) == Starts{0, 4, 0, 4, 0});
  CHECK(make_sampler(SamplerKind::kSequential, stream)->windows_per_epoch() == 2);
}

TEST_CASE("stream windows share no token and wrap", "[data]") {
  // 14 tokens hold 2 runs of 4 + 1; 15 hold 3.
  const SampledStream stream = {.shard_tokens = {5, 9}, .seq_len = 4};
  CHECK(starts(SamplerKind::kStream, stream, 0, 4) == Starts{0, 5, 0, 5});
  CHECK(make_sampler(SamplerKind::kStream, {.shard_tokens = {15}, .seq_len = 4})
            ->windows_per_epoch() == 3);
  CHECK(make_sampler(SamplerKind::kStream, {.shard_tokens = {5}, .seq_len = 4})->start(7) == 0);
}

TEST_CASE("shuffled windows meet each window once an epoch, shard by shard", "[data]") {
  const SampledStream stream = {.shard_tokens = {41, 3, 21, 81}, .seq_len = 4, .seed = 9};
  const std::int64_t windows = 10 + 0 + 5 + 20;
  CHECK(make_sampler(SamplerKind::kShuffled, stream)->windows_per_epoch() == windows);
  const Starts first = starts(SamplerKind::kShuffled, stream, 0, windows);
  const Starts second = starts(SamplerKind::kShuffled, stream, windows, windows);
  CHECK(first != second);
  for (const Starts& epoch : {first, second}) {
    std::set<std::int64_t> seen(epoch.begin(), epoch.end());
    CHECK(seen.size() == static_cast<std::size_t>(windows));
    int changes_of_shard = 0;
    const auto shard_of = [](std::int64_t start) { return start < 41 ? 0 : start < 65 ? 1 : 2; };
    for (std::size_t i = 1; i < epoch.size(); ++i) {
      changes_of_shard += shard_of(epoch[i]) != shard_of(epoch[i - 1]) ? 1 : 0;
    }
    CHECK(changes_of_shard == 2);
    for (const std::int64_t start : epoch) {
      const std::int64_t begin = start < 41 ? 0 : start < 65 ? 44 : 65;
      CHECK((start - begin) % 4 == 0);
    }
  }
}

TEST_CASE("random windows reach every start and no more", "[data]") {
  const SampledStream stream = {.shard_tokens = {7, 5}, .seq_len = 4, .seed = 1};
  std::vector<int> counts(8);  // starts 0 .. 12 - 4 - 1
  for (const std::int64_t start : starts(SamplerKind::kRandom, stream, 0, 8000)) {
    REQUIRE(start >= 0);
    REQUIRE(start < 8);
    ++counts[static_cast<std::size_t>(start)];
  }
  for (const int count : counts) {  // 1000 each, deviation 30
    CHECK(count > 820);
    CHECK(count < 1180);
  }
}

TEST_CASE("a sampler is a function of seed and sequence", "[data]") {
  for (const auto kind : {SamplerKind::kRandom, SamplerKind::kShuffled}) {
    const SampledStream stream = {.shard_tokens = {5000, 7000}, .seq_len = 4, .seed = 1};
    const Starts all = starts(kind, stream, 0, 4000);
    CHECK(starts(kind, stream, 3000, 1000) == Starts(all.begin() + 3000, all.end()));
    SampledStream other = stream;
    other.seed = 2;
    CHECK(starts(kind, other, 0, 4000) != all);
    // Asking for a later epoch and then an earlier one changes nothing.
    const auto sampler = make_sampler(kind, stream);
    sampler->start(3999);
    CHECK(sampler->start(17) == all[17]);
  }
}

TEST_CASE("a stream without a window is refused", "[data]") {
  for (const auto kind : {SamplerKind::kRandom, SamplerKind::kShuffled, SamplerKind::kSequential}) {
    CHECK_THROWS_WITH(make_sampler(kind, {.shard_tokens = {3, 5}, .seq_len = 8}),
                      "data: 8 tokens; seq_len 8 needs at least 9");
    CHECK_NOTHROW(make_sampler(kind, {.shard_tokens = {9}, .seq_len = 8}));
  }
  CHECK_THROWS_WITH(make_sampler(SamplerKind::kRandom, {.shard_tokens = {9}, .seq_len = 0}),
                    "data: seq_len is 0; expected a positive number");
  CHECK_THROWS_WITH(make_sampler(SamplerKind::kShuffled, {.shard_tokens = {5, 5}, .seq_len = 8}),
                    "data: no shard holds seq_len + 1 = 9 tokens; shuffled windows stay inside "
                    "one shard");
}

}  // namespace
}  // namespace ghost
