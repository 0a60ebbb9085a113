#include <cmath>

#include "models/lbi/cost_model.h"
#include "models/lbi/jacobian_statistics.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::tensor_of;

struct Row {
  std::int64_t regions;
  double readout;  // 1/3 of it each: forward, input, weights
  std::int64_t rank;
  double gamma;
  double joined;
  double split;
  double scan;
  double hybrid;
};

// f = b_x = b_w = 1, no time for exchange; worked out by hand to one digit behind the point.
TEST_CASE("latencies are those of the worked table", "[models]") {
  const Row kRows[] = {
      {6, 1.84, 16, 1, 23.5, 16.7, 22.0, 16.7},    {6, 1.84, 16, 0.25, 23.5, 16.7, 13.5, 13.5},
      {6, 1.84, 64, 0.25, 23.5, 16.7, 22.8, 16.7}, {7, 3.3, 16, 1, 30.9, 21.6, 23.0, 20.0},
      {7, 3.3, 16, 0.25, 30.9, 21.6, 18.9, 18.9},  {7, 3.3, 64, 1, 30.9, 21.6, 71.0, 21.6},
      {24, 0.3, 16, 1, 72.9, 49.6, 40.0, 34.0},    {24, 0.3, 64, 0.25, 72.9, 49.6, 40.8, 34.6},
      {48, 0.3, 64, 1, 144.9, 97.6, 112.0, 82.0}};
  for (const Row& row : kRows) {
    INFO(row.regions << " regions, rank " << row.rank << ", gamma " << row.gamma);
    const RegionTimes times{.regions = row.regions,
                            .forward = 1,
                            .input_backward = 1,
                            .weight_backward = 1,
                            .readout = 2 * row.readout,
                            .readout_weights = row.readout,
                            .pullback = row.gamma * static_cast<double>(row.rank - 1)};
    CHECK(joined_latency(times) == Approx(row.joined).margin(0.06));
    CHECK(split_latency(times) == Approx(row.split).margin(0.06));
    CHECK(hybrid_latency(times, 0) == Approx(row.scan).margin(0.06));
    CHECK(hybrid_latency(times, best_serial_regions(times)) == Approx(row.hybrid).margin(0.06));
  }
}

TEST_CASE("Jacobian statistics are means of norms", "[models]") {
  Context ctx(Device{});
  // Two matrices of one sample: diag(3, -4) and a turn by 90 degrees of length 2.
  const JacobianStatistics found =
      jacobian_statistics(ctx, tensor_of({2, 1, 2, 2}, {3, 0, 0, -4, 0, -2, 2, 0}));
  CHECK(found.local_norm == Approx((4 + 2) / 2.0));
  CHECK(found.suffix_norm == Approx((8 + 2 + 1) / 3.0));
  CHECK(found.local_frobenius == Approx((5 / std::sqrt(2.0) + 2) / 2));
  CHECK(found.suffix_frobenius == Approx((10 / std::sqrt(2.0) + 2 + 1) / 3));
}

// [1 1; 0 1] has the golden ratio as its norm; a product with turns on both sides keeps it.
TEST_CASE("the norm of a matrix is its largest singular value", "[models]") {
  Context ctx(Device{});
  const JacobianStatistics shear = jacobian_statistics(ctx, tensor_of({1, 1, 2, 2}, {1, 1, 0, 1}));
  CHECK(shear.local_norm == Approx((1 + std::sqrt(5.0)) / 2));
  const JacobianStatistics of_rank_1 =
      jacobian_statistics(ctx, tensor_of({1, 1, 3, 3}, {1, 2, 2, 2, 4, 4, 0, 0, 0}));
  CHECK(of_rank_1.local_norm == Approx(3 * std::sqrt(5.0)));
}

}  // namespace
}  // namespace ghost
