#pragma once

#include <span>
#include <vector>

#include "engine/io/checkpoint.h"
#include "models/rank_grid.h"

namespace ghost {

/// What all region ranks of this replica have written of a checkpoint, on each of them. Collective
/// over these ranks, who have written as many files each.
std::vector<CheckpointFile> files_of_all(RankGrid& grid, std::span<const CheckpointFile> own);

}  // namespace ghost
