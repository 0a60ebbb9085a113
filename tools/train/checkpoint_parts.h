#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "engine/io/checkpoint.h"
#include "models/rank_grid.h"

namespace ghost {

/// Writes a checkpoint of which every region rank of the first replica has a part: `model` and
/// `optimizer` are this rank's, undefined where another has them. Each rank writes its own files
/// and so has to see the directory. Collective over these ranks; others
/// return at once.
void save_parts(const CheckpointDirectory& checkpoints, const TrainerState& state, RankGrid& grid,
                std::span<const NamedTensor> model, std::span<const NamedTensor> optimizer);

}  // namespace ghost
