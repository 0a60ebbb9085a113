#pragma once

#include "engine/autograd/context.h"
#include "engine/autograd/sketch_config.h"

namespace ghost {

/// A partition of the rows of a matrix.
struct RowGroups {
  Tensor group_of;  // [rows] u16, tagged sketches
  std::int64_t num_groups = 0;
};

/// Puts the rows of x [rows, N] into at most `max_groups` groups, as config.center says:
///
///   mean     one group
///   token    by the row's input token, target by its target token: the token itself where the
///            vocabulary is that small, else hashed
///   nearest  max_groups rows, drawn at random, are the anchors; every row goes to the nearest one.
///            Distances are Euclidean, between projections onto config.projection random sign
///            vectors, with config.kmeans_rounds rounds that move each anchor to the mean of its
///            rows
///
/// throws  ghost::Error when a label is asked for that the context does not have
RowGroups form_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                      std::int64_t max_groups, const RandomStream& stream);

}  // namespace ghost
