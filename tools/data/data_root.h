#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ghost {

/// --set of the data commands, which read no config file: the only key is data.root.
struct DataRootOption {
  std::vector<std::string> overrides;

  void add_to(CLI::App& command);
  /// Throws ghost::ConfigError for any other key.
  std::filesystem::path path() const;
};

}  // namespace ghost
