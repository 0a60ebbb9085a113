#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/io/safetensors.h"
#include "engine/io/weights.h"

namespace ghost {

/// Reads a weight [V, C] whose rows are tokens into `value` [padded V, C]: where the file has only
/// the first `vocab_size` rows, the others become zero. Throws ghost::Error naming file and tensor.
void read_vocabulary(const SafetensorsFile& file, const TensorView& stored, const Tensor& value,
                     std::int64_t vocab_size);

/// Writes DIRECTORY/model.safetensors, then config.json, each whole or not at all; makes the
/// directory where it is missing. Throws ghost::Error when that fails.
void write_hf_directory(const std::filesystem::path& directory,
                        const std::vector<NamedTensor>& tensors,
                        const nlohmann::ordered_json& config);

}  // namespace ghost
