#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad inspect CONFIG|RUN_DIR [--set a.b=c]...`: parameters by module, FLOPs a token, and
/// the bytes a step will hold, before anything is allocated.
void register_inspect(CLI::App& app);

}  // namespace ghost
