#pragma once

#include <filesystem>

#include "engine/io/safetensors.h"
#include "models/gpt/gpt.h"

namespace ghost {

/// The configuration in a Hugging Face GPT-2 config.json. Throws ghost::ConfigError naming the file
/// and the key when it is not one, or asks for what this model does not have.
GptConfig read_gpt2_config(const std::filesystem::path& config_json);

/// Fills a GPT from Hugging Face GPT-2 weights, with or without the `transformer.` prefix. Their
/// four projections are stored [in, out] and are transposed; mask buffers are skipped; rows that
/// only pad the vocabulary become zero. Throws ghost::Error naming file and tensor.
void import_gpt2_weights(const SafetensorsFile& file, Gpt& model);

/// Writes DIRECTORY/model.safetensors and config.json such that GPT2LMHeadModel loads them: names
/// with prefix, [in, out] projections, zeros for biases that the model does not have.
/// The padded rows of the vocabulary are left out; config.json records the form of GELU and the
/// tying. Throws ghost::Error when a file cannot be written.
void export_gpt2(const Gpt& model, const std::filesystem::path& directory);

}  // namespace ghost
