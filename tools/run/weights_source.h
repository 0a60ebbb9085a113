#pragma once

#include <filesystem>

#include "models/model.h"

namespace ghost {

/// Fills a model's parameters from a run directory (its newest checkpoint), a checkpoint, or a
/// directory or file with Hugging Face's weights of a GPT-2 or Mamba-2. Throws ghost::Error naming
/// file and tensor.
void load_weights(const std::filesystem::path& source, Model& model);

}  // namespace ghost
