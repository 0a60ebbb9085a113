#pragma once

#include <filesystem>

#include "engine/io/safetensors.h"
#include "models/hybrid/hybrid.h"

namespace ghost {

/// Whether a config.json is that of a Mamba-2, by Hugging Face or by mamba_ssm.
bool is_mamba2_config(const std::filesystem::path& config_json);

/// The configuration in such a file. Throws ghost::ConfigError naming the file and the key when it
/// asks for what this model does not have.
HybridConfig read_mamba2_config(const std::filesystem::path& config_json);

/// Fills a Mamba-2 from weights of Hugging Face (backbone.embeddings.weight) or mamba_ssm
/// (backbone.embedding.weight; an lm_head that repeats a tied embedding is skipped; mlp.fc1 has its
/// halves the other way round); rows that only pad the vocabulary become zero where the file does
/// not have them. Throws ghost::Error naming file and tensor.
void import_mamba2_weights(const SafetensorsFile& file, Hybrid& model);

/// Writes DIRECTORY/model.safetensors and config.json such that Mamba2ForCausalLM loads them; the
/// padded rows of the vocabulary are left out. Throws ghost::ConfigError for models with anything
/// but Mamba-2 in mamba_ssm's form, ghost::Error when a file cannot be written.
void export_mamba2(const Hybrid& model, const std::filesystem::path& directory);

}  // namespace ghost
