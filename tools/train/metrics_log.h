#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "engine/io/file.h"
#include "engine/memory/allocator.h"
#include "models/rank_grid.h"
#include "tools/console/step_line.h"
#include "tools/monitor/monitor.h"
#include "tools/run/run_config.h"

namespace ghost {

/// The floating-point peak that MFU refers to.
struct PeakFlops {
  std::optional<double> flops;  // a second; none for an unknown device
  std::string source;
};

/// metrics.jsonl of a run: one object a line, of kind start, train, eval, event, monitor or
/// correlation. Numbers that are not finite are written as null.
class MetricsLog {
 public:
  explicit MetricsLog(const std::filesystem::path& path) : file_(path) {}

  struct Start {
    const Config& config;
    std::string_view architecture;
    std::int64_t parameters;
    std::string_view item = "token";  // what tokens stand for in the keys of the log
    std::string_view score = {};      // key of the score in evaluations, where there is one
    double flops_per_token;
    PeakFlops peak;
    int threads;
    std::int64_t replicas = 1;
    std::int64_t region_ranks = 1;
    const Monitor* monitor = nullptr;  // null: there is none
  };
  void start(const Start& start);
  /// `messages`: of the step, summed over `ranks` ranks; null for a single one. Times are written
  /// as means over ranks.
  struct Messages {
    const MessageCounts* counts = nullptr;
    std::int64_t ranks = 1;
  };
  void train(const StepLine& line, std::int64_t tokens, const Allocator& memory,
             const Messages& messages);
  void eval(const EvalLine& line);
  /// A line of kind monitor, an array a metric in the order of the start line's modules, and one of
  /// kind event for each kind of alarm that has gone on or off.
  void observation(const MonitorRecord& record, const std::vector<MonitoredModule>& modules);
  void correlations(std::int64_t step, const ProxyCorrelations& correlations);
  void event(std::int64_t step, std::string_view event, std::string_view detail);

  std::int64_t size() const { return file_.size(); }
  /// Forgets what was logged after a checkpoint.
  void truncate(std::int64_t bytes) { file_.truncate(bytes); }

 private:
  AppendFile file_;
};

}  // namespace ghost
