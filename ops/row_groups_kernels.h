#pragma once

#include <functional>

#include "engine/random/philox.h"
#include "ops/row_bins_kernels.h"

namespace ghost {

struct LabelGroups {
  Tensor labels;    // [rows] i32
  Tensor group_of;  // [rows] u16
  std::int64_t num_groups;
};

/// Which counters and words of a NearestGroups' stream are what. Words 0 and 1 of a row are its
/// sort key and sign; indices of the other two lie apart from those of the rows.
inline constexpr std::size_t kSampleWord = 2;
inline constexpr std::uint32_t kProjectionDraws = 0x80000000U;
inline constexpr std::uint32_t kCodeDraws = 0xC0000000U;

/// Residual vector quantisation. The codewords of a level are found on samples, rows drawn without
/// replacement: the first samples, as many as groups, level after level, are codewords themselves,
/// then each round of k-means moves the codewords to the means of the samples nearest to them, and
/// the samples lose their codewords before the next level. Rows are put into groups by these
/// codewords; each refit takes the means of the groups, one sweep of GroupMeans, for codewords and
/// groups all rows again.
struct NearestGroups {
  Tensor x;         // [rows, blocks * N]
  Tensor labels;    // [rows] i32 or undefined: a code of the label stands beside the features of x
  Tensor features;  // [blocks, rows, K + code] in statistic_dtype of x; undefined: x itself
  Tensor drawn;     // [samples] i32: which rows
  // Scratch in statistic_dtype of x; W: columns of what is compared, features or x.
  Tensor sample;     // [blocks, samples, W]
  Tensor codewords;  // [blocks, levels * groups_of_level, W]
  Tensor products;   // [blocks, levels * groups_of_level, rows at once]
  Tensor group_of;   // [blocks, levels, rows] u16
  std::int64_t groups_of_level;
  std::int64_t projection;  // K; N: x itself
  std::int64_t kmeans_rounds;
  std::int64_t refits;
  double label_weight;
  RandomStream stream;
};

/// One block: its columns of x, the other tensors without their first dimension.
struct NearestGroupsOfBlock : NearestGroups {
  std::int64_t channels;      // N
  std::int64_t first_column;  // of x

  NearestGroupsOfBlock(const NearestGroups& all, std::int64_t block);
  /// What is compared: rows of these, N columns from compared_column() on.
  const Tensor& compared() const { return features.defined() ? features : x; }
  std::int64_t compared_column() const { return features.defined() ? 0 : first_column; }
};

/// Sums over groups become the means mu for which sum over levels of mu[group of the level] is near
/// to x: `sweeps` rounds of block coordinate descent (Gauss and Seidel) on the squared distance,
/// level by level; one level needs one sweep and gives plain means.
struct GroupMeans {
  Tensor sums;      // [groups of all levels, N], in: sums of x over groups; out: mu
  Tensor group_of;  // [levels, rows] u16
  std::int64_t sweeps;
  double* squared_norm = nullptr;  // in: |x|^2; out: |x - sum of mu|^2; null: not asked for
};

/// The same on a GPU.
struct DeviceGroupMeans {
  Tensor sums;      // [groups of all levels, N] f32
  Tensor group_of;  // [levels, rows] u16
  std::int64_t sweeps;
  Tensor squared_norm;  // [1] f64, or undefined: not asked for
};

/// Which means the rows of a bin bring along: out[r, g] = sum of the weights of bin r's entries
/// whose rows lie in group g. Weights are +-1, so sums are exact in any order.
struct GroupWeights {
  const DeviceBins* bins;
  Tensor group_of;  // [levels, rows] u16
  Tensor out;       // [bins, groups of all levels] f32
};

namespace cpu {
void row_groups(const LabelGroups& args);
void row_groups(const NearestGroups& args);
void row_groups(const GroupMeans& args);

/// Calls work(block) for all blocks, on all threads; a single one may share out its own work.
void for_each_block(std::int64_t blocks, const std::function<void(std::int64_t)>& work);
}  // namespace cpu

// Scratch comes from the context.
namespace cuda {
void row_groups(const Context& ctx, const LabelGroups& args);
void row_groups(const Context& ctx, const NearestGroups& args);
void row_groups(const Context& ctx, const DeviceGroupMeans& args);
void row_groups(const Context& ctx, const GroupWeights& args);
}  // namespace cuda

}  // namespace ghost
