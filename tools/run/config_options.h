#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tools/run/run_config.h"

namespace ghost {

/// What every command takes that reads a config: the file and changes to it.
struct ConfigOptions {
  std::filesystem::path file;
  std::vector<std::string> overrides;
  std::string device;

  /// --set and --device.
  void add_to(CLI::App& command);
  /// The config with all changes. Throws ghost::ConfigError.
  Config load() const;
};

}  // namespace ghost
