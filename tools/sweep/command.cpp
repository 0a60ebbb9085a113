#include "tools/sweep/command.h"

#include <iostream>
#include <memory>

#include <fmt/ostream.h>

#include "engine/config/check_range.h"
#include "tools/sweep/sweep_results.h"
#include "tools/sweep/sweep_runner.h"

namespace ghost {
namespace {

struct SweepArguments {
  std::filesystem::path file;
  std::filesystem::path out;
  std::string only;
  SweepRunOptions run;
};

void sweep(const SweepArguments& arguments) {
  check_range(arguments.run.jobs > 0, "--jobs", arguments.run.jobs, "a positive integer");
  const Sweep all = load_sweep(arguments.file, arguments.out);
  Sweep chosen = all;
  if (!arguments.only.empty()) {
    keep_only(chosen, arguments.only);
  }
  const auto unfinished = run_sweep(chosen, arguments.run, std::cout);
  const auto rows = read_results(all);
  if (!rows.empty()) {
    write_results(all, rows);
    fmt::print(std::cout, "results of {} of {} runs: {}\n", rows.size(), all.runs.size(),
               (all.out / "results.md").string());
  }
  GHOST_CHECK(unfinished.empty(), "{} of {} trainings did not finish: {}; see their logs in {}",
              unfinished.size(), chosen.jobs.size(), fmt::join(unfinished, ", "),
              chosen.out.string());
}

}  // namespace

void register_sweep(CLI::App& app) {
  const auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command = app.add_subcommand("sweep", "train a table of runs and compare them");
  command->add_option("SWEEP", arguments->file, "sweep file, as configs/basis/parity.sweep.yaml")
      ->required();
  command->add_option("--out", arguments->out, "directory of the runs, instead of the file's");
  command->add_option("--jobs", arguments->run.jobs, "trainings at a time, which share the cores");
  command->add_option("--only", arguments->only, "train the runs whose names match a glob");
  command->add_flag("--overwrite", arguments->run.overwrite,
                    "start runs again whose config has changed");
  command->callback([arguments] { sweep(*arguments); });
}

}  // namespace ghost
