#pragma once

#include <filesystem>
#include <vector>

namespace CLI {
class App;
}

namespace ghost {

/// Adds `report RUN_DIR [RUN_DIR...] [--out FILE]` to the command line; parsing it runs it.
void register_report(CLI::App& app);

/// Reads the runs and writes their report, complete or not at all. An empty `out` means
/// RUN_DIR/report.html for one run and report.html here for several. Returns the path written.
/// Throws ghost::Error when a run cannot be read or the file not be written.
std::filesystem::path write_report(const std::vector<std::filesystem::path>& runs,
                                   std::filesystem::path out);

}  // namespace ghost
