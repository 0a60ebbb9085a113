#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `data prepare NAME_OR_FILES... [--from PATH] [--tokenizer byte|char|gpt2] [--bpe DIR]
/// [--out DIR] [--val-fraction F] [--field NAME] [--shard-tokens N] [--force] [--set
/// data.root=DIR]`
void register_data_prepare(CLI::App& data);

}  // namespace ghost
