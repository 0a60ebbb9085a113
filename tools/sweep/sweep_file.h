#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tools/run/run_config.h"

namespace ghost {

/// One run of a sweep with one seed: what `ghostgrad train` is called with.
struct SweepJob {
  std::string run;  // name in the sweep file
  std::filesystem::path config_file;
  std::vector<std::string> overrides;  // a.b=c, train.seed and run.dir among them
  Config config;                       // the file with the overrides, read and checked

  std::string name() const;  // RUN-seedS, which is also the last component of run.dir
};

struct Sweep {
  std::filesystem::path out;
  std::vector<std::string> runs;  // names, in the order of the file
  std::vector<SweepJob> jobs;     // run after run, seed after seed
};

/// Reads a sweep file:
///
///   base: exact.yaml        # config beside the sweep file; a run may name its own as `config`
///   out: runs/basis/sound   # default: runs/NAME of NAME.sweep.yaml
///   seeds: [1, 2, 3]        # default: the seed of the config
///   runs:
///     exact: {}
///     r8: {residuals.sketch.rank: 8}  # as --set
///
/// `out` replaces the file's when it is not empty. Every config is loaded and checked. Throws
/// ghost::ConfigError naming file, line and key, and the run whose config is not valid.
Sweep load_sweep(const std::filesystem::path& file, const std::filesystem::path& out);

/// Keeps the runs that match a glob. Throws ghost::ConfigError when there is none.
void keep_only(Sweep& sweep, const std::string& glob);

}  // namespace ghost
