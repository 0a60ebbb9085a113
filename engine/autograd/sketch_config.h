#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/config/enum_names.h"

namespace ghost {

/// The random matrix S [R, rows] with E[S^T S] = I.
enum class SketchMethod {
  kCount,       // one +-1 a column: rows are hashed into R bins and added with random signs
  kRademacher,  // dense, +-1 / sqrt(R)
  kGaussian,    // dense, normal(0, 1 / R)
  kSrht,        // random signs, Hadamard transform over the rows, R of its rows
};

/// How a count sketch puts rows into bins.
enum class HashKind {
  kBalanced,     // a random permutation, dealt round: bins differ by at most one row
  kIndependent,  // each row on its own; bins may be empty
  kWindowed,     // a permutation inside each window of R rows: neighbours never collide
};

/// Row sampling instead of a sketch: R of the rows, weighted.
enum class SampledRows {
  kAll,      // no sampling
  kUniform,  // without replacement
  kNorm,     // with replacement, by |x|
  kWta,      // the largest |x| for certain, the rest by |x| (WTA-CRS, arXiv 2305.15265)
};

/// Groups of rows whose means are kept exactly.
enum class Centering {
  kNone,
  kMean,     // one group
  kToken,    // rows of one input token
  kTarget,   // rows of one target token
  kNearest,  // rows near one of some codewords
};

/// What becomes of the rows' distances from their group's mean.
enum class Remainder { kSketch, kDrop };

/// What `center: nearest` measures distances between.
enum class GroupFeatures {
  kInput,        // rows of x
  kInputTarget,  // rows of x beside a code of the target token
};

enum class RankSchedule { kConstant, kLinear };

template <>
struct EnumNames<SketchMethod> {
  static constexpr EnumName<SketchMethod> kNames[] = {{SketchMethod::kCount, "count"},
                                                      {SketchMethod::kRademacher, "rademacher"},
                                                      {SketchMethod::kGaussian, "gaussian"},
                                                      {SketchMethod::kSrht, "srht"}};
};
template <>
struct EnumNames<HashKind> {
  static constexpr EnumName<HashKind> kNames[] = {{HashKind::kBalanced, "balanced"},
                                                  {HashKind::kIndependent, "independent"},
                                                  {HashKind::kWindowed, "windowed"}};
};
template <>
struct EnumNames<SampledRows> {
  static constexpr EnumName<SampledRows> kNames[] = {{SampledRows::kAll, "all"},
                                                     {SampledRows::kUniform, "uniform"},
                                                     {SampledRows::kNorm, "norm"},
                                                     {SampledRows::kWta, "wta"}};
};
template <>
struct EnumNames<Centering> {
  static constexpr EnumName<Centering> kNames[] = {{Centering::kNone, "none"},
                                                   {Centering::kMean, "mean"},
                                                   {Centering::kToken, "token"},
                                                   {Centering::kTarget, "target"},
                                                   {Centering::kNearest, "nearest"}};
};
template <>
struct EnumNames<Remainder> {
  static constexpr EnumName<Remainder> kNames[] = {{Remainder::kSketch, "sketch"},
                                                   {Remainder::kDrop, "drop"}};
};
template <>
struct EnumNames<GroupFeatures> {
  static constexpr EnumName<GroupFeatures> kNames[] = {
      {GroupFeatures::kInput, "input"}, {GroupFeatures::kInputTarget, "input+target"}};
};
template <>
struct EnumNames<RankSchedule> {
  static constexpr EnumName<RankSchedule> kNames[] = {{RankSchedule::kConstant, "constant"},
                                                      {RankSchedule::kLinear, "linear"}};
};

/// Options of every `keep: sketch`. Defaults are those of the method's reference program.
/// source  Khasia 2026, arXiv:2604.16324; group means, windows and row sampling are not of it
struct SketchConfig {
  std::int64_t rank = 64;
  std::optional<double> rank_fraction;
  RankSchedule schedule = RankSchedule::kConstant;
  std::optional<std::int64_t> final_rank;
  std::optional<double> final_rank_fraction;
  SketchMethod sketch = SketchMethod::kCount;
  HashKind hash = HashKind::kBalanced;
  SampledRows rows = SampledRows::kAll;
  bool invariant = true;
  double lambda = 0.01;
  double gamma_max = 0;
  double scale = 1;
  bool wiener = false;
  Centering center = Centering::kNone;
  Remainder remainder = Remainder::kSketch;
  double group_fraction = 2.0 / 3;
  GroupFeatures features = GroupFeatures::kInput;
  double target_weight = 1;
  std::int64_t projection = 0;
  std::int64_t samples = 2;
  std::int64_t kmeans_rounds = 1;
  std::int64_t refits = 1;
  std::int64_t levels = 1;
  std::int64_t blocks = 1;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("rank", rank, "rows R of a sketch, >= 1; at most the rows there are");
    visit("rank_fraction", rank_fraction, "R as a share of the rows instead, in (0, 1]");
    visit("schedule", schedule, "of the rank over the run: constant, or linear to the final one");
    visit("final_rank", final_rank, "R at the last step of a linear schedule, >= 1");
    visit("final_rank_fraction", final_rank_fraction, "the same as a share of the rows");
    visit("sketch", sketch, "random matrix: count (hashing), or dense");
    visit("hash", hash, "of count: how rows are put into bins");
    visit("rows", rows, "all: sketch; others: keep R rows, uniform or by their length");
    visit("invariant", invariant, "scale both sketches to the lengths of what they stand for");
    visit("lambda", lambda, "each sketch is scaled by 1 - lambda, in [0, 1)");
    visit("gamma_max", gamma_max, "largest scale that invariant may choose; 0: any");
    visit("scale", scale, "of the gradient, > 0");
    visit("wiener", wiener, "shrink the gradient to its expected share of signal");
    visit("center", center, "keep the means of groups of rows exactly");
    visit("remainder", remainder, "of center: sketch the rest with the bins left, or drop it");
    visit("group_fraction", group_fraction, "share of R for groups when the rest is sketched");
    visit("features", features, "of center nearest: what distances are between");
    visit("target_weight", target_weight, "of features input+target: weight of the target, >= 0");
    visit("projection", projection, "dimensions in which nearest compares rows; 0: all of them");
    visit("samples", samples, "of center nearest: rows to find groups on, in multiples of R, >= 1");
    visit("kmeans_rounds", kmeans_rounds, "of center nearest: rounds of k-means on them, >= 0");
    visit("refits", refits, "of center nearest: times that all rows move to the groups' means");
    visit("levels", levels,
          "of center nearest: partitions that share R, each of what is left, 1-64");
    visit("blocks", blocks, "of center nearest: blocks of channels with groups of their own, 1-64");
  }
  void validate(const std::string& prefix) const;
};

/// R for `rows` rows when `progress` (0 to 1) of the run is done; never more than the rows.
std::int64_t sketch_rank(const SketchConfig& config, std::int64_t rows, double progress);

}  // namespace ghost
