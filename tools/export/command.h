#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad export RUN_DIR --out DIR [--checkpoint last|best] [--force]`: weights for Hugging
/// Face.
void register_export(CLI::App& app);

/// `ghostgrad import HF_DIR --out RUN_DIR [--bpe DIR] [--overwrite]`: a run that starts from
/// Hugging Face's weights of a GPT-2 or Mamba-2 (or mamba_ssm's, in safetensors).
void register_import(CLI::App& app);

}  // namespace ghost
