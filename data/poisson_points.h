#pragma once

#include <cstdint>
#include <span>

#include "data/batch_source.h"
#include "engine/config/enum_names.h"

namespace ghost {

/// Solutions u(x, y) on the unit square that -(u_xx + u_yy) = f and u = g on the border are made
/// for.
enum class PoissonProblem {
  kSine,         // u = sin(pi x) sin(pi y), which is 0 on the border
  kExponential,  // u = exp(x) sin(pi y), which is not
};

template <>
struct EnumNames<PoissonProblem> {
  static constexpr EnumName<PoissonProblem> kNames[] = {
      {PoissonProblem::kSine, "sine"}, {PoissonProblem::kExponential, "exponential"}};
};

double poisson_solution(PoissonProblem problem, double x, double y);
/// f = -(u_xx + u_yy)
double poisson_source(PoissonProblem problem, double x, double y);

/// Random points of the unit square: inner ones, then ones on its border. The same ones at each
/// step, or others every so many steps: a pure function of seed and position.
class PoissonPoints {
 public:
  struct Options {
    PoissonProblem problem = PoissonProblem::kSine;
    std::int64_t inner = 0;           // a micro-step
    std::int64_t boundary = 0;        // likewise
    std::int64_t resample_every = 0;  // steps; 0: never
    std::uint64_t seed = 0;
  };

  explicit PoissonPoints(const Options& options) : options_(options) {}

  /// Points [inner + boundary, 2]; targets f at inner points, u at the others.
  void fill(const BatchPosition& position, std::span<float> points, std::span<float> targets) const;

 private:
  Options options_;
};

/// Row `index` of the nodes of a grid of side x side points, the border included: x, y and u.
void fill_grid_point(PoissonProblem problem, std::int64_t side, std::int64_t index,
                     std::span<float, 2> point, float& solution);

}  // namespace ghost
