#pragma once

#include "engine/autograd/context.h"
#include "engine/autograd/sketch_config.h"

namespace ghost {

/// Partitions of the rows of a matrix, one or several levels of them.
struct RowGroups {
  Tensor group_of;  // [levels, rows] u16, tagged sketches
  std::int64_t levels = 0;
  std::int64_t groups_per_level = 0;

  std::int64_t num_groups() const { return levels * groups_per_level; }
};

/// Puts the rows of x [rows, N] into at most `max_groups` groups, as config.center says:
///
///   mean     one group
///   token    by the row's input token, target by its target token: the token itself where the
///            vocabulary is that small, else hashed
///   nearest  every row goes to the nearest of as many codewords as groups: config.samples times as
///            many rows are drawn at random, the first of them are codewords, and
///            config.kmeans_rounds rounds move each codeword to the mean of the samples nearest to
///            it. Distances are Euclidean, between the rows or between their projections onto
///            config.projection random sign vectors. With several levels the groups are shared out
///            among them, and each level groups what the codewords before it have left (residual
///            vector quantisation)
///
/// throws  ghost::Error when a label is asked for that the context does not have
RowGroups form_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                      std::int64_t max_groups, const RandomStream& stream);

}  // namespace ghost
