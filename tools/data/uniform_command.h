#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad data uniform [--vocab-size N] [--tokens N] [--val-tokens N] [--seed S] [--out DIR]
/// [--force] [--set data.root=DIR]`
void register_data_uniform(CLI::App& data);

}  // namespace ghost
