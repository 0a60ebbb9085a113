#include "data/poisson_points.h"

#include <cmath>
#include <numbers>

#include "engine/core/error.h"
#include "engine/random/philox.h"

namespace ghost {
namespace {

constexpr double kPi = std::numbers::pi;

/// Uniform in (0, 1).
double unit(std::uint32_t word) { return (word + 0.5) * 0x1p-32; }

struct Point {
  double x;
  double y;
};

/// On one of four sides.
Point on_border(std::uint32_t side, double along) {
  switch (side % 4) {
    case 0:
      return {along, 0};
    case 1:
      return {along, 1};
    case 2:
      return {0, along};
    default:
      return {1, along};
  }
}

}  // namespace

double poisson_solution(PoissonProblem problem, double x, double y) {
  const double profile = problem == PoissonProblem::kSine ? std::sin(kPi * x) : std::exp(x);
  return profile * std::sin(kPi * y);
}

double poisson_source(PoissonProblem problem, double x, double y) {
  const double factor = problem == PoissonProblem::kSine ? 2 * kPi * kPi : kPi * kPi - 1;
  return factor * poisson_solution(problem, x, y);
}

void PoissonPoints::fill(const BatchPosition& position, std::span<float> points,
                         std::span<float> targets) const {
  const std::int64_t rows = options_.inner + options_.boundary;
  GHOST_CHECK(
      targets.size() == static_cast<std::size_t>(rows) && points.size() == 2 * targets.size(),
      "batch of {} coordinates and {} targets; expected {} x 2 and {}", points.size(),
      targets.size(), rows, rows);
  const std::int64_t draw =
      options_.resample_every > 0 ? position.step / options_.resample_every : 0;
  const RandomStream stream{
      .seed = options_.seed, .step = draw, .site = 1, .purpose = Purpose::kBatch};
  const std::int64_t first = (position.micro_step * position.world_size + position.rank) * rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto words = stream.words(static_cast<std::uint32_t>(first + row));
    const bool is_inner = row < options_.inner;
    const Point exact =
        is_inner ? Point{unit(words[0]), unit(words[1])} : on_border(words[2], unit(words[3]));
    const auto at = static_cast<std::size_t>(row);
    points[2 * at] = static_cast<float>(exact.x);
    points[2 * at + 1] = static_cast<float>(exact.y);
    // Of the point as it is stored.
    const double x = points[2 * at];
    const double y = points[2 * at + 1];
    targets[at] = static_cast<float>(is_inner ? poisson_source(options_.problem, x, y)
                                              : poisson_solution(options_.problem, x, y));
  }
}

void fill_grid_point(PoissonProblem problem, std::int64_t side, std::int64_t index,
                     std::span<float, 2> point, float& solution) {
  const auto steps = static_cast<double>(side - 1);
  const double x = static_cast<double>(index % side) / steps;
  const double y = static_cast<double>(index / side) / steps;
  point[0] = static_cast<float>(x);
  point[1] = static_cast<float>(y);
  solution = static_cast<float>(poisson_solution(problem, x, y));
}

}  // namespace ghost
