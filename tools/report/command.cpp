#include "tools/report/command.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "engine/io/file.h"
#include "tools/report/report.h"
#include "tools/report/run_log.h"

namespace ghost {

std::filesystem::path write_report(const std::vector<std::filesystem::path>& runs,
                                   std::filesystem::path out) {
  std::vector<RunLog> logs;
  logs.reserve(runs.size());
  for (const std::filesystem::path& run : runs) {
    logs.push_back(read_run_log(run));
  }
  if (out.empty()) {
    out = runs.size() == 1 ? runs.front() / "report.html" : std::filesystem::path("report.html");
  }
  write_file_atomically(out, render_report(logs));
  return out;
}

void register_report(CLI::App& app) {
  struct Args {
    std::vector<std::filesystem::path> runs;
    std::filesystem::path out;
  };
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("report", "Draw one run, or several overlaid, as one HTML page");
  command->add_option("RUN_DIR", args->runs, "run directories (runs/NAME)")->required();
  command->add_option("--out", args->out,
                      "file to write (default: RUN_DIR/report.html; for several runs report.html)");
  command->callback([args] {
    const std::filesystem::path written = write_report(args->runs, args->out);
    fmt::print("report: {}\n", written.string());
  });
}

}  // namespace ghost
