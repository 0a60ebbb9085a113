#include <algorithm>

#include "models/hybrid/hybrid_block.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

constexpr std::int64_t kChannels = 6;
constexpr std::int64_t kState = 8;
constexpr std::int64_t kHeadDim = 4;
constexpr std::int64_t kInner = 2 * kChannels;

/// A Mamba-3 block in f64.
struct Block3 {
  explicit Block3(std::int64_t ranks, double rope_fraction)
      : ctx(Device{}), block(config_of(ranks, rope_fraction), 0, parameters) {
    parameters.materialize(ctx.allocator(), DType::kF64);
    parameters.initialize(1);
  }
  static HybridConfig config_of(std::int64_t ranks, double rope_fraction) {
    HybridConfig config{.layers = 1, .channels = kChannels};
    config.layer_types = {{LayerType::kMamba3}};
    config.mamba3 = {.state = kState,
                     .head_dim = kHeadDim,
                     .mimo_rank = ranks,
                     .chunk = 4,
                     .rope_fraction = rope_fraction};
    return config;
  }
  double* values(const char* name) {
    return parameters.find(std::string("backbone.layers.0.mixer.") + name)->value.data<double>();
  }
  std::vector<double> run(const Tensor& x) { return values_of(block.forward(ctx, x)); }

  Context ctx;
  ParameterStore parameters;
  HybridBlock block;
};

/// Where SISO has the channel that MIMO has at `at`: its pairs are 2m, 2m + 1, not m, m + N / 2.
std::int64_t paired(std::int64_t at) {
  const std::int64_t half = kState / 2;
  return at < half ? 2 * at : 2 * (at - half) + 1;
}

// Of two ranks the second reads and writes nothing; what is left is SISO, its state in another
// order.
TEST_CASE("one rank of MIMO is SISO with its pairs in another order", "[models]") {
  for (const double rope_fraction : {0.5, 1.0}) {
    Block3 one(1, rope_fraction);
    Block3 two(2, rope_fraction);
    const auto noise = [&](const char* name, std::uint64_t seed) {
      Parameter* parameter = one.parameters.find(std::string("backbone.layers.0.mixer.") + name);
      const auto draws = values_of(normal(parameter->shape, seed));
      std::transform(draws.begin(), draws.end(), one.values(name), one.values(name),
                     [](double draw, double value) { return value + 0.3 * draw; });
    };
    std::uint64_t seed = 0;
    for (const char* name : {"in_proj.weight", "dt_bias", "B_bias", "C_bias", "B_norm.weight",
                             "C_norm.weight", "D", "out_proj.weight"}) {
      noise(name, ++seed);
    }
    const std::int64_t heads = kInner / kHeadDim;
    const auto fill_two = [&](auto&& place) {
      const auto copy_rows = [&](std::int64_t to, std::int64_t from, std::int64_t rows) {
        std::copy_n(one.values("in_proj.weight") + from * kChannels, rows * kChannels,
                    two.values("in_proj.weight") + to * kChannels);
      };
      copy_rows(0, 0, 2 * kInner);  // z, x
      for (std::int64_t part = 0; part < 2; ++part) {
        for (std::int64_t at = 0; at < kState; ++at) {
          copy_rows(2 * kInner + part * 2 * kState + at, 2 * kInner + part * kState + place(at), 1);
        }
      }
      const std::int64_t rest =
          one.parameters.find("backbone.layers.0.mixer.in_proj.weight")->shape[0] - 2 * kInner -
          2 * kState;
      copy_rows(2 * kInner + 4 * kState, 2 * kInner + 2 * kState, rest);
      for (const char* name : {"dt_bias", "D"}) {
        std::copy_n(one.values(name), heads, two.values(name));
      }
      std::copy_n(one.values("out_proj.weight"), kInner * kChannels, two.values("out_proj.weight"));
      for (std::int64_t at = 0; at < kState; ++at) {
        two.values("B_norm.weight")[at] = one.values("B_norm.weight")[place(at)];
        two.values("C_norm.weight")[at] = one.values("C_norm.weight")[place(at)];
        for (std::int64_t h = 0; h < heads; ++h) {
          for (const char* name : {"B_bias", "C_bias"}) {
            two.values(name)[h * 2 * kState + at] = one.values(name)[h * kState + place(at)];
          }
        }
      }
      for (std::int64_t h = 0; h < heads; ++h) {
        for (const char* name : {"mimo_x", "mimo_z", "mimo_o"}) {
          double* weight = two.values(name) + h * 2 * kHeadDim;
          std::fill_n(weight, kHeadDim, 1);
          std::fill_n(weight + kHeadDim, kHeadDim, 0);
        }
      }
    };
    const Tensor x = normal({2, 9, kChannels}, 77);
    const auto expected = one.run(x);
    const auto difference = [&] {
      const auto got = two.run(x);
      double largest = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        largest = std::max(largest, std::abs(got[i] - expected[i]));
      }
      return largest;
    };
    fill_two(paired);
    CHECK(difference() < 1e-12);
    fill_two([](std::int64_t at) { return at; });
    CHECK(difference() > 1e-4);
  }
}

}  // namespace
}  // namespace ghost
