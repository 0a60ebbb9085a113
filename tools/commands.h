#pragma once

namespace CLI {
class App;
}

namespace ghost {

/// Adds every command of `ghostgrad` to the parser; a command runs when the parser meets it.
void register_commands(CLI::App& app);

}  // namespace ghost
