#pragma once

#include "models/lbi/parallel_lbi.h"

namespace ghost {

/// Which ranks a run is on and who has which parameters. Both are borrowed.
struct Placement {
  RankGrid* grid = nullptr;              // null: there is one process
  const ParallelLbi* regions = nullptr;  // null: every rank has the whole model

  /// The region rank that has a parameter.
  int owner(const Parameter& parameter) const {
    return regions == nullptr ? 0 : regions->owner(parameter);
  }
  bool is_here(const Parameter& parameter) const {
    return regions == nullptr || regions->is_here(parameter);
  }
  bool is_alone() const { return grid == nullptr || grid->is_alone(); }
  std::int64_t replicas() const { return grid == nullptr ? 1 : grid->num_replicas(); }
};

}  // namespace ghost
