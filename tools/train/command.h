#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad train CONFIG [--set a.b=c]... [--resume RUN_DIR] [--overwrite]`
void register_train(CLI::App& app);

}  // namespace ghost
