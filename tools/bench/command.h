#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad bench CONFIG [--set a.b=c]... [--steps N]`: speed of whole training steps on random
/// tokens, beside the matrix-product rate of the same shapes in the same run.
void register_bench(CLI::App& app);

}  // namespace ghost
