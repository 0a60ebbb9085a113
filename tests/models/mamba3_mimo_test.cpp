// The whole mixer with ranks against its formulas, token by token in f64, with nothing of the ops.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/hybrid/hybrid.h"
#include "models/mamba3/mamba3_mixer.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

using Row = std::vector<double>;

constexpr std::int64_t kChannels = 6;
constexpr double kEps = 1e-5;

double softplus(double x) { return std::log1p(std::exp(x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// A mixer of random weights and the names to read them by.
struct Mimo {
  explicit Mimo(const Mamba3Config& mamba3)
      : config(mamba3),
        ctx(Device{}),
        mixer(config, kChannels, kEps, ModuleParameters(parameters, "", /*decay_all=*/false)) {
    parameters.materialize(ctx.allocator(), DType::kF64);
    parameters.initialize(1);
    std::uint64_t seed = 10;
    for (const auto& parameter : parameters.all()) {
      const Row noise = values_of(normal(parameter->shape, ++seed));
      for (std::size_t i = 0; i < noise.size(); ++i) {
        parameter->value.data<double>()[i] += 0.4 * noise[i];
      }
    }
  }
  const double* weight(const char* name) const {
    return parameters.find(name)->value.data<double>();
  }
  std::int64_t heads() const { return config.inner(kChannels) / config.head_dim; }

  Mamba3Config config;
  Context ctx;
  ParameterStore parameters;
  Mamba3Mixer mixer;
};

/// row / sqrt(mean(row^2) + eps) * gain
Row normed(Row row, const double* gain) {
  double sum = 0;
  for (const double value : row) {
    sum += value * value;
  }
  const double rstd = 1 / std::sqrt(sum / static_cast<double>(row.size()) + kEps);
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] *= rstd * gain[i];
  }
  return row;
}

/// What one head puts out for the rows of projections [T, ...], [T, P].
std::vector<Row> plain_head(const Mimo& of, const std::vector<Row>& projections,
                            std::int64_t head) {
  const Mamba3Config& c = of.config;
  const std::int64_t ranks = c.mimo_rank;
  const std::int64_t inner = c.inner(kChannels);
  const std::int64_t group = head / (of.heads() / c.groups);
  const std::int64_t half = c.state / 2;
  Row phi(static_cast<std::size_t>(c.angles()));
  Row h(static_cast<std::size_t>(c.head_dim * c.state));
  std::vector<Row> last_k(static_cast<std::size_t>(ranks), Row(static_cast<std::size_t>(c.state)));
  Row last_x(static_cast<std::size_t>(c.head_dim));
  std::vector<Row> out;
  for (const Row& token : projections) {
    // z | x | B (rank, group, state) | C | dt | A | lambda | angles
    const double* z = token.data() + head * c.head_dim;
    const double* x = z + inner;
    const double* b = token.data() + 2 * inner;
    const double* scalars = b + 2 * ranks * c.groups * c.state;
    const double dt = softplus(scalars[head] + of.weight("dt_bias")[head]);
    const double a = std::min(-softplus(scalars[of.heads() + head]), -c.a_floor);
    const double lambda = sigmoid(scalars[2 * of.heads() + head]);
    for (std::size_t m = 0; m < phi.size(); ++m) {
      phi[m] +=
          dt * std::numbers::pi * std::tanh(scalars[3 * of.heads() + static_cast<std::int64_t>(m)]);
    }
    const auto turned = [&](const double* all, const char* norm, const char* bias, std::int64_t r) {
      const double* from = all + (r * c.groups + group) * c.state;
      Row u = normed(Row(from, from + c.state), of.weight(norm));
      for (std::size_t n = 0; n < u.size(); ++n) {
        u[n] += of.weight(bias)[(head * ranks + r) * c.state + static_cast<std::int64_t>(n)];
      }
      for (std::size_t m = 0; m < phi.size(); ++m) {
        double& u0 = u[m];
        double& u1 = u[m + static_cast<std::size_t>(half)];
        const double before = u0;
        u0 = before * std::cos(phi[m]) - u1 * std::sin(phi[m]);
        u1 = before * std::sin(phi[m]) + u1 * std::cos(phi[m]);
      }
      return u;
    };
    const auto mimo = [&](const char* name, std::int64_t r, std::int64_t p) {
      return of.weight(name)[(head * ranks + r) * c.head_dim + p];
    };
    std::vector<Row> k;
    for (std::int64_t r = 0; r < ranks; ++r) {
      k.push_back(turned(b, "B_norm.weight", "B_bias", r));
    }
    const double decay = std::exp(a * dt);
    for (std::int64_t p = 0; p < c.head_dim; ++p) {
      for (std::int64_t n = 0; n < c.state; ++n) {
        double& state = h[static_cast<std::size_t>(p * c.state + n)];
        state *= decay;
        for (std::int64_t r = 0; r < ranks; ++r) {
          const auto rank = static_cast<std::size_t>(r);
          const auto at = static_cast<std::size_t>(n);
          state += (1 - lambda) * dt * decay * last_x[static_cast<std::size_t>(p)] *
                       mimo("mimo_x", r, p) * last_k[rank][at] +
                   lambda * dt * x[p] * mimo("mimo_x", r, p) * k[rank][at];
        }
      }
    }
    Row y(static_cast<std::size_t>(c.head_dim));
    for (std::int64_t r = 0; r < ranks; ++r) {
      const Row q = turned(b + ranks * c.groups * c.state, "C_norm.weight", "C_bias", r);
      Row o;
      for (std::int64_t p = 0; p < c.head_dim; ++p) {
        double sum = of.weight("D")[head] * x[p] * mimo("mimo_x", r, p);
        for (std::int64_t n = 0; n < c.state; ++n) {
          sum += h[static_cast<std::size_t>(p * c.state + n)] * q[static_cast<std::size_t>(n)];
        }
        o.push_back(sum);
      }
      if (c.is_outproj_norm) {
        o = normed(o, of.weight("norm.weight") + head * c.head_dim);
      }
      for (std::int64_t p = 0; p < c.head_dim; ++p) {
        const double u = z[p] * mimo("mimo_z", r, p);
        y[static_cast<std::size_t>(p)] +=
            mimo("mimo_o", r, p) * o[static_cast<std::size_t>(p)] * u * sigmoid(u);
      }
    }
    out.push_back(y);
    last_k = std::move(k);
    last_x.assign(x, x + c.head_dim);
  }
  return out;
}

TEST_CASE("the mixer with ranks equals its definition", "[models]") {
  constexpr std::int64_t kLength = 11;
  for (const bool has_norm : {false, true}) {
    for (const std::int64_t ranks : {2, 3, 4}) {
      for (const double rope_fraction : {0.5, 1.0}) {
        Mimo mimo({.state = 8,
                   .head_dim = 3,
                   .groups = 2,
                   .mimo_rank = ranks,
                   .chunk = 4,
                   .rope_fraction = rope_fraction,
                   .is_outproj_norm = has_norm});
        const Tensor x = normal({1, kLength, kChannels}, 5);
        const Row got = values_of(mimo.mixer.mix(mimo.ctx, x, nullptr));
        const std::int64_t width = mimo.parameters.find("in_proj.weight")->shape[0];
        std::vector<Row> projections(kLength, Row(static_cast<std::size_t>(width)));
        for (std::int64_t t = 0; t < kLength; ++t) {
          for (std::int64_t i = 0; i < width * kChannels; ++i) {
            projections[static_cast<std::size_t>(t)][static_cast<std::size_t>(i / kChannels)] +=
                mimo.weight("in_proj.weight")[i] * x.data<double>()[t * kChannels + i % kChannels];
          }
        }
        double worst = 0;
        for (std::int64_t head = 0; head < mimo.heads(); ++head) {
          const std::vector<Row> expected = plain_head(mimo, projections, head);
          for (std::int64_t t = 0; t < kLength; ++t) {
            for (std::int64_t p = 0; p < 3; ++p) {
              const auto at = static_cast<std::size_t>((t * mimo.heads() + head) * 3 + p);
              worst = std::max(
                  worst,
                  std::abs(got[at] -
                           expected[static_cast<std::size_t>(t)][static_cast<std::size_t>(p)]));
            }
          }
        }
        INFO("R = " << ranks << ", rope_fraction " << rope_fraction << ", norm " << has_norm);
        CHECK(worst <= 1e-12);
      }
    }
  }
}

// in_proj grows by 2 (R - 1) G N rows, the biases by R - 1 rows a head; three weights are new.
TEST_CASE("ranks cost the parameters that they add", "[models]") {
  const auto parameters_of = [](std::int64_t ranks, bool has_norm) {
    HybridConfig config{
        .layers = 1, .channels = 768, .layer_types = {{LayerType::kMamba3}}, .vocab_size = 1};
    config.pad_vocab_to = 1;
    config.mamba3 = {.mimo_rank = ranks, .is_outproj_norm = has_norm};
    return Hybrid(config, "mamba3").parameters().num_elements() - 2 * 768;
  };
  CHECK(parameters_of(1, false) == 3'822'640);
  CHECK(parameters_of(4, false) ==
        3'822'640 + 768 * 2 * 3 * 128 + 2 * 24 * 3 * 128 + 3 * 24 * 4 * 64);
  CHECK(parameters_of(4, false) == 4'449'328);
  CHECK(parameters_of(4, true) == 4'449'328 + 1536);
  CHECK(parameters_of(2, false) == 4'034'608);
}

}  // namespace
}  // namespace ghost
