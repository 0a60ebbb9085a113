#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "engine/io/weights.h"
#include "tools/train/placement.h"

namespace ghost {

/// What a checkpoint holds, laid out as by one process that has every parameter: so a run goes on
/// on any grid of ranks, and every command reads what any grid wrote.
struct WholeState {
  std::vector<NamedTensor> model;
  std::vector<NamedTensor> optimizer;
};

/// On rank 0 of the world everything, from the ranks that have it; elsewhere nothing. `optimizer`
/// is this rank's. Collective over the region ranks of the first replica; others return at once.
WholeState gather_state(const Placement& placement, const ParameterStore& parameters,
                        const std::vector<NamedTensor>& optimizer);

/// Fills this rank's part of the optimizer's state from a checkpoint. Throws as load_optimizer.
void load_optimizer_part(const std::filesystem::path& checkpoint, const Placement& placement,
                         const ParameterStore& parameters,
                         const std::vector<NamedTensor>& optimizer);

}  // namespace ghost
