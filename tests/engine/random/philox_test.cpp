#include "engine/random/philox.h"

#include <cmath>
#include <set>

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("philox gives the known answers", "[random]") {
  // Random123's kat_vectors for philox4x32-10.
  CHECK(Philox(0)(0, 0, 0, 0) == Philox::Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox(~std::uint64_t{0})(~0U, ~0U, ~0U, ~0U) ==
        Philox::Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox(0x299f31d0a4093822)(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344) ==
        Philox::Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream lays out the counter as documented", "[random]") {
  RandomStream stream{.seed = 0x123456789abcdef0,
                      .step = (std::int64_t{5} << 32) + 7,
                      .site = 0x1234,
                      .micro_step = 0x56,
                      .rank = 0x78,
                      .purpose = Purpose::kDropout};
  const Philox philox(stream.seed);
  CHECK(stream.words(9) == philox(9, 0x78561234, 7, (1U << 24) | 5));
  stream.purpose = Purpose::kSketch;  // the plain step, as the sketches' golden cases have it
  CHECK(stream.words(9) == philox(9, 0x78561234, 7, 5));
}

TEST_CASE("words in bulk are the words one by one", "[random]") {
  const RandomStream stream{.seed = 0x123456789abcdef0,
                            .step = (std::int64_t{5} << 32) + 7,
                            .site = 0x1234,
                            .micro_step = 0x56,
                            .rank = 0x78,
                            .purpose = Purpose::kRounding};
  for (const std::size_t count : {0, 1, 3, 128, 129, 1000}) {
    std::vector<std::uint32_t> words(count + 1, 77);
    stream.fill(/*first=*/9, std::span(words).first(count));
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(words[i] == stream.words(static_cast<std::uint32_t>(9 + i / 4))[i % 4]);
    }
    CHECK(words[count] == 77);
  }
}

TEST_CASE("streams that differ in anything differ", "[random]") {
  std::set<Philox::Words> seen;
  const RandomStream base{.seed = 1};
  std::vector<RandomStream> streams(7, base);
  streams[1].seed = 2;
  streams[2].step = 1;
  streams[3].site = 1;
  streams[4].micro_step = 1;
  streams[5].rank = 1;
  streams[6].purpose = Purpose::kInit;
  for (const RandomStream& stream : streams) {
    for (std::uint32_t index = 0; index < 4; ++index) {
      seen.insert(stream.words(index));
    }
  }
  CHECK(seen.size() == 28);
}

TEST_CASE("uniform numbers lie in [0, 1)", "[random]") {
  CHECK(uniform_from(0) == 0.0F);
  CHECK(uniform_from(~0U) == 1.0F - 0x1p-24F);
  CHECK(uniform_from(0x80000000) == 0.5F);
  CHECK(uniform_from(0xff) == 0.0F);  // the lower 8 bits are not used
}

TEST_CASE("normal numbers have the moments of a normal distribution", "[random]") {
  const RandomStream stream{.seed = 11, .purpose = Purpose::kInit};
  constexpr int kPairs = 100000;
  double sum = 0;
  double sum_2 = 0;
  double sum_3 = 0;
  double sum_4 = 0;
  double product = 0;
  for (std::uint32_t i = 0; i < kPairs; ++i) {
    const auto words = stream.words(i);
    const auto pair = normal_pair(words[0], words[1]);
    for (const double x : pair) {
      sum += x;
      sum_2 += x * x;
      sum_3 += x * x * x;
      sum_4 += x * x * x * x;
    }
    product += pair[0] * pair[1];
  }
  // Five standard errors of each moment.
  const double n = 2.0 * kPairs;
  CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(sum_2 / n - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::abs(sum_3 / n) < 5 * std::sqrt(15 / n));
  CHECK(std::abs(sum_4 / n - 3) < 5 * std::sqrt(96 / n));
  CHECK(std::abs(product / kPairs) < 5 / std::sqrt(static_cast<double>(kPairs)));
}

TEST_CASE("the extreme words give finite normal numbers", "[random]") {
  for (const std::uint32_t a : {0U, ~0U}) {
    for (const std::uint32_t b : {0U, ~0U}) {
      const auto pair = normal_pair(a, b);
      CHECK(std::isfinite(pair[0]));
      CHECK(std::isfinite(pair[1]));
    }
  }
}

}  // namespace
}  // namespace ghost
