#pragma once

#include <CLI/CLI.hpp>

namespace ghost {

/// `ghostgrad data prepare | uniform | fetch | info`
void register_data(CLI::App& app);

}  // namespace ghost
