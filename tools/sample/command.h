#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad sample RUN_DIR [--prompt TEXT | --prompt-file F] [--tokens N] [--temperature T]
/// [--top-k K] [--top-p P] [--seed S] [--num N] [--checkpoint last|best] [--bpe DIR]`
void register_sample(CLI::App& app);

}  // namespace ghost
