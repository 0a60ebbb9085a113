#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "tools/sweep/sweep_file.h"

namespace ghost {

enum class RunState {
  kNew,
  kUnfinished,  // killed, or stopped by a signal: its newest checkpoint is before the last step
  kFinished,
};

/// How far a job's run directory is. Throws ghost::ConfigError when it holds a run with another
/// config (train.threads and train.log_every, which change no result by intent, aside).
RunState state_of(const SweepJob& job);

struct SweepRunOptions {
  std::int64_t jobs = 1;   // processes at a time; above 1 each has its share of the cores
  bool overwrite = false;  // runs with another config are started again
};

/// Trains every job that is not finished, each in a process of its own with its output in
/// OUT/NAME.log, and writes a line to `console` as each begins and ends. One that fails does not
/// stop the others. After SIGINT or SIGTERM the running ones write a checkpoint and no more are
/// started. Returns the names of the jobs that did not finish.
std::vector<std::string> run_sweep(const Sweep& sweep, const SweepRunOptions& options,
                                   std::ostream& console);

}  // namespace ghost
