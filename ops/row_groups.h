#pragma once

#include "engine/autograd/context.h"
#include "engine/autograd/sketch_config.h"

namespace ghost {

/// Partitions of the rows of a matrix: of each block of its columns one or several levels.
struct RowGroups {
  Tensor group_of;  // [blocks * levels, rows] u16, tagged sketches
  std::int64_t blocks = 1;
  std::int64_t levels = 0;
  std::int64_t groups_per_level = 0;

  std::int64_t groups_of_block() const { return levels * groups_per_level; }
  /// Of all blocks.
  std::int64_t num_groups() const { return blocks * groups_of_block(); }
  /// [levels, rows]
  Tensor of_block(std::int64_t block) const {
    return group_of.slice(block * levels, (block + 1) * levels);
  }
};

/// Puts the rows of x [rows, N] into at most `max_groups` groups a block, as config.center says:
///
///   mean     one group
///   token    by the row's input token, target by its target token: the token itself where the
///            vocabulary is that small, else hashed
///   nearest  every row goes to the nearest of as many codewords as groups: config.samples times as
///            many rows are drawn at random, the first of them are codewords, and
///            config.kmeans_rounds rounds move each codeword to the mean of the samples nearest to
///            it; config.refits times all rows are grouped again, by the means of the groups they
///            have formed. Distances are Euclidean, between the rows or between their projections
///            onto config.projection random sign vectors. With several levels the groups are shared
///            out among them, and each level groups what the codewords before it have left
///            (residual vector quantisation). Each of config.blocks blocks of N / blocks columns is
///            grouped by itself (product quantisation), with the same samples
///
/// throws  ghost::Error when a label is asked for that the context does not have; ConfigError when
///         the blocks do not divide N
/// source  product quantisation: Jegou, Douze and Schmid 2011
RowGroups form_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                      std::int64_t max_groups, const RandomStream& stream);

}  // namespace ghost
