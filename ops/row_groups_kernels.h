#pragma once

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

/// Codewords are means of samples, rows drawn without replacement. The first samples, as many as
/// groups, level after level, are codewords themselves; in each round of k-means the codewords of a
/// level move to the means of the samples they are nearest to. Samples and rows then lose their
/// codewords, and the next level begins.
struct NearestGroups {
  Tensor x;         // [rows, N]
  Tensor labels;    // [rows] i32 or undefined: a code of the label stands beside the features of x
  Tensor features;  // [rows, K + code] in statistic_dtype of x, scratch; undefined: x itself
  Tensor sample;    // [samples, columns of what is compared], as features or x, scratch
  Tensor gram;      // [samples, samples] in statistic_dtype of x, scratch; undefined for one level
                    // without k-means, of which every sample is a codeword
  Tensor products;  // [samples, rows at once] in statistic_dtype of x, scratch
  Tensor group_of;  // [levels, rows] u16
  std::int64_t groups_of_level;
  std::int64_t projection;  // K; N: x itself
  std::int64_t kmeans_rounds;
  double label_weight;
  RandomStream stream;
};

/// Sums over groups become the means mu for which sum over levels of mu[group of the level] is near
/// to x: `sweeps` rounds of block coordinate descent (Gauss and Seidel) on the squared distance,
/// level by level; one level needs one sweep and gives plain means.
struct GroupMeans {
  Tensor sums;      // [groups of all levels, N], in: sums of x over groups; out: mu
  Tensor group_of;  // [levels, rows] u16
  std::int64_t sweeps;
  double* squared_norm;  // in: |x|^2; out: |x - sum of mu|^2
};

/// The same on a GPU.
struct DeviceGroupMeans {
  Tensor sums;      // [groups of all levels, N] f32
  Tensor group_of;  // [levels, rows] u16
  std::int64_t sweeps;
  Tensor squared_norm;  // [1] f64
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
}  // namespace cpu

// Scratch comes from the context.
namespace cuda {
void row_groups(const Context& ctx, const LabelGroups& args);
void row_groups(const Context& ctx, const NearestGroups& args);
void row_groups(const Context& ctx, const DeviceGroupMeans& args);
void row_groups(const Context& ctx, const GroupWeights& args);
}  // namespace cuda

}  // namespace ghost
