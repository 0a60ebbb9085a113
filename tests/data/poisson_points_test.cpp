#include "data/poisson_points.h"

#include <cmath>
#include <vector>

#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("sources are minus the Laplacians of solutions", "[data]") {
  constexpr double kStep = 1e-4;
  for (const auto& [problem, name] : EnumNames<PoissonProblem>::kNames) {
    INFO(name);
    for (const auto& [x, y] : {std::pair(0.3, 0.6), std::pair(0.9, 0.1), std::pair(0.5, 0.5)}) {
      const auto u = [problem = problem](double a, double b) {
        return poisson_solution(problem, a, b);
      };
      const double laplacian =
          (u(x + kStep, y) + u(x - kStep, y) + u(x, y + kStep) + u(x, y - kStep) - 4 * u(x, y)) /
          (kStep * kStep);
      CHECK(poisson_source(problem, x, y) == Approx(-laplacian).epsilon(1e-5));
    }
  }
}

struct Points {
  std::vector<float> xy = std::vector<float>(24);
  std::vector<float> targets = std::vector<float>(12);
  bool operator==(const Points&) const = default;
};

Points points_at(const PoissonPoints& points, const BatchPosition& position) {
  Points out;
  points.fill(position, out.xy, out.targets);
  return out;
}

TEST_CASE("points lie inside or on the border and stay as long as asked for", "[data]") {
  const PoissonPoints::Options options{.problem = PoissonProblem::kExponential,
                                       .inner = 8,
                                       .boundary = 4,
                                       .resample_every = 3,
                                       .seed = 7};
  const PoissonPoints points(options);
  const Points first = points_at(points, {});
  for (std::size_t i = 0; i < 12; ++i) {
    const double x = first.xy[2 * i];
    const double y = first.xy[2 * i + 1];
    const bool is_on_border = x == 0 || x == 1 || y == 0 || y == 1;
    CHECK(is_on_border == (i >= 8));
    CHECK(first.targets[i] == Approx(i < 8 ? poisson_source(options.problem, x, y)
                                           : poisson_solution(options.problem, x, y))
                                  .epsilon(1e-6));
  }
  CHECK(points_at(points, {.step = 2}) == first);
  CHECK(points_at(points, {.step = 3}) != first);
  CHECK(points_at(points, {.rank = 1, .world_size = 2}) != first);
  PoissonPoints::Options fixed = options;
  fixed.resample_every = 0;
  CHECK(points_at(PoissonPoints(fixed), {.step = 1000}) == points_at(PoissonPoints(fixed), {}));
  std::vector<float> few(3);
  CHECK_THROWS_WITH(points.fill({}, few, few),
                    "batch of 3 coordinates and 3 targets; expected 12 x 2 and 12");
}

TEST_CASE("a grid has its nodes on the border too", "[data]") {
  std::vector<float> point(2);
  float u = 0;
  fill_grid_point(PoissonProblem::kSine, 5, 7, std::span(point).first<2>(), u);
  CHECK((point[0] == 0.5F && point[1] == 0.25F));
  CHECK(u == Approx(std::sin(M_PI / 4)));
  fill_grid_point(PoissonProblem::kSine, 5, 24, std::span(point).first<2>(), u);
  CHECK((point[0] == 1 && point[1] == 1));
}

}  // namespace
}  // namespace ghost
