#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad sweep SWEEP.yaml [--out DIR] [--jobs N] [--only GLOB] [--overwrite]`
void register_sweep(CLI::App& app);

}  // namespace ghost
