#include "engine/autograd/sketch_config.h"

#include <algorithm>
#include <cmath>

#include "engine/config/check_range.h"

namespace ghost {
namespace {

double wanted_rank(std::int64_t rank, const std::optional<double>& fraction, std::int64_t rows) {
  return fraction.has_value() ? *fraction * static_cast<double>(rows) : static_cast<double>(rank);
}

void check_fraction(const std::optional<double>& fraction, const std::string& key) {
  if (fraction.has_value()) {
    check_range(*fraction > 0 && *fraction <= 1, key, *fraction, "more than 0 and at most 1");
  }
}

}  // namespace

void SketchConfig::validate(const std::string& prefix) const {
  check_range(rank >= 1, prefix + "rank", rank, "at least 1");
  check_fraction(rank_fraction, prefix + "rank_fraction");
  if (final_rank.has_value()) {
    check_range(*final_rank >= 1, prefix + "final_rank", *final_rank, "at least 1");
  }
  check_fraction(final_rank_fraction, prefix + "final_rank_fraction");
  const bool has_final = final_rank.has_value() || final_rank_fraction.has_value();
  check_range(schedule == RankSchedule::kConstant || has_final, prefix + "schedule", schedule,
              "final_rank or final_rank_fraction beside a linear schedule");
  check_range(schedule == RankSchedule::kLinear || !has_final, prefix + "schedule", schedule,
              "linear where final_rank or final_rank_fraction is set");
  check_range(lambda >= 0 && lambda < 1, prefix + "lambda", lambda, "0 or more and less than 1");
  check_range(gamma_max >= 0, prefix + "gamma_max", gamma_max, "0 (any) or a positive number");
  check_range(scale > 0, prefix + "scale", scale, "a positive number");
  check_range(rows == SampledRows::kAll || sketch == SketchMethod::kCount, prefix + "rows", rows,
              "all where sketch is dense");
  check_range(center == Centering::kNone || sketch == SketchMethod::kCount, prefix + "sketch",
              sketch, "count where groups are kept (center)");
  check_range(center == Centering::kNone || rows == SampledRows::kAll, prefix + "rows", rows,
              "all where groups are kept (center)");
  check_range(!wiener || (sketch == SketchMethod::kCount && rows == SampledRows::kAll &&
                          center == Centering::kNone),
              prefix + "wiener", wiener, "false but for count sketches of all rows without center");
  check_range(group_fraction > 0 && group_fraction <= 1, prefix + "group_fraction", group_fraction,
              "more than 0 and at most 1");
  check_range(target_weight >= 0, prefix + "target_weight", target_weight, "0 or more");
  check_range(projection >= 0, prefix + "projection", projection, "0 (all) or a positive number");
  check_range(samples >= 1, prefix + "samples", samples, "1 or more");
  check_range(levels >= 1 && levels <= 64, prefix + "levels", levels, "1 to 64");
  check_range(levels == 1 || center == Centering::kNearest, prefix + "levels", levels,
              "1 where center is not nearest");
  check_range(blocks >= 1 && blocks <= 64, prefix + "blocks", blocks, "1 to 64");
  check_range(blocks == 1 || (center == Centering::kNearest && remainder == Remainder::kDrop),
              prefix + "blocks", blocks, "1 but for center: nearest with remainder: drop");
  check_range(refits >= 0 && refits <= 100, prefix + "refits", refits, "0 to 100");
  check_range(kmeans_rounds >= 0 && kmeans_rounds <= 100, prefix + "kmeans_rounds", kmeans_rounds,
              "0 to 100");
}

std::int64_t sketch_rank(const SketchConfig& config, std::int64_t rows, double progress) {
  double wanted = wanted_rank(config.rank, config.rank_fraction, rows);
  if (config.schedule == RankSchedule::kLinear) {
    const double last =
        wanted_rank(config.final_rank.value_or(config.rank), config.final_rank_fraction, rows);
    wanted += std::clamp(progress, 0.0, 1.0) * (last - wanted);
  }
  return std::clamp<std::int64_t>(std::llround(wanted), 1, rows);
}

}  // namespace ghost
