#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad eval RUN_DIR [--checkpoint last|best] [--batches N] [--json] [--bpe DIR] [--set K=V]
///  [--protocol PARTS [--refresh N] [--baseline RUN_DIR]]`
void register_eval(CLI::App& app);

}  // namespace ghost
