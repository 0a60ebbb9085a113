#include "tools/sweep/sweep_runner.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <fstream>
#include <list>
#include <map>
#include <omp.h>
#include <sstream>
#include <thread>

#include <fmt/ostream.h>

#include "engine/config/fields.h"
#include "tools/console/quantity.h"
#include "tools/run/run_directory.h"
#include "tools/run/stop_signal.h"
#include "tools/sweep/child_process.h"

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

/// The lines of a resolved config that a result depends on.
std::vector<std::string> lines_of(Config config) {
  config.run = {};
  config.train.threads = 0;
  config.train.log_every = 1;
  std::istringstream text(write_config(config));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(line.substr(0, line.find("  #")));
  }
  return lines;
}

/// Where the directory's config differs from the job's; empty when it does not.
std::string difference(const SweepJob& job) {
  const std::filesystem::path file = RunDirectory(job.config.run.dir).config();
  if (!std::filesystem::exists(file)) {
    return {};  // killed before it was written
  }
  const Config run = load_run_config(file, {});
  Config job_config = job.config;
  if (job_config.train.epochs > 0) {
    job_config.train.steps = run.train.steps;  // the run has counted them
  }
  const auto found = lines_of(run);
  const auto expected = lines_of(job_config);
  const auto [a, b] = std::mismatch(found.begin(), found.end(), expected.begin(), expected.end());
  const auto text = [](const auto& at, const std::vector<std::string>& lines) {
    return at == lines.end() ? std::string("nothing") : at->substr(at->find_first_not_of(' '));
  };
  return a == found.end() && b == expected.end()
             ? std::string()
             : fmt::format("\"{}\" there, \"{}\" now", text(a, found), text(b, expected));
}

bool is_complete(const SweepJob& job) {
  const RunDirectory directory(job.config.run.dir);
  const auto newest = directory.checkpoints().newest();
  if (!newest.has_value() || !std::filesystem::exists(directory.metrics())) {
    return false;
  }
  const std::int64_t steps = job.config.train.epochs > 0
                                 ? load_run_config(directory.config(), {}).train.steps
                                 : job.config.train.steps;
  return newest->filename() == fmt::format("step-{:06}", steps);
}

std::string last_line(const std::filesystem::path& log) {
  std::string last;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);) {
    last = line.empty() ? last : line;
  }
  return last.substr(last.rfind('\r') + 1);
}

/// A job in training.
struct Active {
  const SweepJob* job;
  Clock::time_point began;
  ChildProcess process;
};

class Runner {
 public:
  Runner(const Sweep& sweep, const SweepRunOptions& options, std::ostream& console)
      : sweep_(sweep), options_(options), console_(console) {}

  std::vector<std::string> run() {
    queue_jobs();
    std::filesystem::create_directories(sweep_.out);
    const StopSignal stop;
    bool is_stopping = false;
    while (!active_.empty() || (!waiting_.empty() && !is_stopping)) {
      if (stop.requested() && !is_stopping) {
        is_stopping = true;
        for (const Active& run : active_) {
          run.process.terminate();
        }
      }
      while (!is_stopping && !waiting_.empty() &&
             static_cast<std::int64_t>(active_.size()) < options_.jobs) {
        start(*waiting_.front());
        waiting_.pop_front();
      }
      collect();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    for (const SweepJob* job : waiting_) {
      unfinished_.push_back(job->name());
    }
    return unfinished_;
  }

 private:
  // Every directory is looked at before the first process starts.
  void queue_jobs() {
    for (const SweepJob& job : sweep_.jobs) {
      RunState state = RunState::kNew;
      if (options_.overwrite && !difference(job).empty()) {
        is_overwritten_[&job] = true;
      } else {
        state = state_of(job);
      }
      if (state == RunState::kFinished) {
        fmt::print(console_, "{}: finished before\n", job.name());
      } else {
        states_[&job] = state;
        waiting_.push_back(&job);
      }
    }
  }

  void start(const SweepJob& job) {
    std::vector<std::string> arguments{"train", job.config_file.string()};
    const auto set = [&](const std::string& change) {
      arguments.insert(arguments.end(), {"--set", change});
    };
    for (const std::string& change : job.overrides) {
      set(change);
    }
    if (options_.jobs > 1) {
      set(fmt::format("train.threads={}",
                      std::max<std::int64_t>(1, omp_get_num_procs() / options_.jobs)));
    }
    const bool is_resumed = states_[&job] == RunState::kUnfinished;
    if (is_resumed) {
      arguments.insert(arguments.end(), {"--resume", job.config.run.dir});
    } else if (is_overwritten_[&job]) {
      arguments.emplace_back("--overwrite");
    }
    const TrainConfig& train = job.config.train;
    fmt::print(console_, "{}: {} {} {}\n", job.name(), is_resumed ? "resuming, to" : "training",
               format_count(train.epochs > 0 ? train.epochs : train.steps),
               train.epochs > 0 ? "epochs" : "steps");
    console_.flush();
    active_.push_back({&job, Clock::now(), ChildProcess(arguments, log_of(job))});
  }

  void collect() {
    for (auto run = active_.begin(); run != active_.end();) {
      const std::optional<int> code = run->process.poll();
      if (!code.has_value()) {
        ++run;
        continue;
      }
      report(*run, *code);
      run = active_.erase(run);
    }
  }

  void report(const Active& run, int code) {
    const double seconds = std::chrono::duration<double>(Clock::now() - run.began).count();
    const std::string name = run.job->name();
    if (code == 0 && is_complete(*run.job)) {
      fmt::print(console_, "{}: done in {}\n", name, format_duration(seconds));
    } else {
      unfinished_.push_back(name);
      fmt::print(console_, "{}: {}; {}\n", name,
                 code == 0 ? std::string("stopped") : fmt::format("exit code {}", code),
                 last_line(log_of(*run.job)));
    }
    console_.flush();
  }

  std::filesystem::path log_of(const SweepJob& job) const {
    return sweep_.out / (job.name() + ".log");
  }

  const Sweep& sweep_;
  const SweepRunOptions& options_;
  std::ostream& console_;
  std::map<const SweepJob*, RunState> states_;
  std::map<const SweepJob*, bool> is_overwritten_;
  std::deque<const SweepJob*> waiting_;
  std::list<Active> active_;
  std::vector<std::string> unfinished_;
};

}  // namespace

RunState state_of(const SweepJob& job) {
  if (!RunDirectory(job.config.run.dir).holds_a_run()) {
    return RunState::kNew;
  }
  if (const std::string found = difference(job); !found.empty()) {
    fail<ConfigError>(
        "run {}: {} holds a run with another config ({}); pass --overwrite to start "
        "it again",
        job.run, job.config.run.dir, found);
  }
  return is_complete(job) ? RunState::kFinished : RunState::kUnfinished;
}

std::vector<std::string> run_sweep(const Sweep& sweep, const SweepRunOptions& options,
                                   std::ostream& console) {
  return Runner(sweep, options, console).run();
}

}  // namespace ghost
