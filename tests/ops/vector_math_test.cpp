#include "ops/cpu/vector_math.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/support/catch.h"

namespace ghost::cpu {
namespace {

TEST_CASE("the vector exponential is within two units in the last place", "[ops]") {
  std::vector<float> x;
  for (int i = -4000; i <= 4000; ++i) {
    x.push_back(static_cast<float>(i) * 0.0217F);
  }
  std::vector<float> y(x.size());
#pragma omp simd
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = vector_exp(x[i]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double unit = std::max(exact * 0x1p-23, 0x1p-149);
    INFO(x[i]);
    CHECK(std::abs(y[i] - exact) <= 2 * unit);
  }
}

TEST_CASE("the vector exponential keeps what is not finite", "[ops]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(vector_exp(kInfinity) == kInfinity);
  CHECK(vector_exp(-kInfinity) == 0);
  CHECK(vector_exp(200.0F) == kInfinity);
  CHECK(vector_exp(-200.0F) == 0);
  CHECK(vector_exp(0.0F) == 1);
  CHECK(std::isnan(vector_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("the vector hyperbolic tangent is within four units in the last place", "[ops]") {
  std::vector<float> x;
  for (float size = 1e-8F; size < 12; size *= 1.003F) {
    x.push_back(size);
    x.push_back(-size);
  }
  std::vector<float> y(x.size());
#pragma omp simd
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = vector_tanh(x[i]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::tanh(static_cast<double>(x[i]));
    const auto next = std::nextafter(static_cast<float>(std::abs(exact)), 2.0F);
    const double unit = std::abs(next - static_cast<float>(std::abs(exact)));
    INFO(x[i]);
    CHECK(std::abs(y[i] - exact) <= 4 * unit);
  }
}

TEST_CASE("the vector hyperbolic tangent keeps signs and what is not finite", "[ops]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(vector_tanh(kInfinity) == 1);
  CHECK(vector_tanh(-kInfinity) == -1);
  CHECK(std::signbit(vector_tanh(-0.0F)));
  CHECK(std::isnan(vector_tanh(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("the vector sine and cosine are within 1.2e-7", "[ops]") {
  std::vector<float> x;
  for (int i = -10000; i <= 10000; ++i) {
    x.push_back(static_cast<float>(i) * 0.01F);
  }
  std::vector<float> sine(x.size());
  std::vector<float> cosine(x.size());
#pragma omp simd
  for (std::size_t i = 0; i < x.size(); ++i) {
    const SineCosine<float> both = vector_sine_cosine(x[i]);
    sine[i] = both.sine;
    cosine[i] = both.cosine;
  }
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::abs(sine[i] - std::sin(static_cast<double>(x[i]))));
    worst = std::max(worst, std::abs(cosine[i] - std::cos(static_cast<double>(x[i]))));
  }
  CHECK(worst <= 1.2e-7);
  CHECK(vector_sine_cosine(0.0F).sine == 0);
  CHECK(vector_sine_cosine(0.0F).cosine == 1);
  CHECK(std::isnan(vector_sine_cosine(std::numeric_limits<float>::quiet_NaN()).sine));
}

}  // namespace
}  // namespace ghost::cpu
