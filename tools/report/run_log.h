#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/eval/protocol_result.h"

namespace ghost {

// A run directory as the report sees it. Numbers that a line does not carry, or carries as null
// (JSON has no NaN), are NaN here.

/// The facts of a run, from its last `start` line.
struct RunFacts {
  std::string name;
  std::string model;
  std::string device;
  std::string dtype;
  std::string peak_source;  // where peak_flops comes from
  std::string config_sha256;
  std::string loss_label;      // what losses are, where the reader would take them for others
  std::string item = "token";  // what the fields called tokens count
  std::string score;           // name of the evaluations' score; empty: there is none
  double parameters = 0;
  double flops_per_token = 0;
  double peak_flops = 0;
  double threads = 0;
  double tokens_per_step = 0;
  double steps = 0;                          // planned
  std::vector<std::string> monitor_modules;  // in the order of `monitor` lines
  double monitor_bytes = 0;                  // of the monitor's state
};

/// One `train` line.
struct TrainPoint {
  std::int64_t step = 0;
  double loss = 0;
  double lr = 0;
  double grad_norm = 0;
  double ms_per_step = 0;
  double tokens_per_s = 0;
  double mfu = 0;     // 0 to 1
  double tokens = 0;  // seen since step 0
};

/// One `eval` line.
struct EvalPoint {
  std::int64_t step = 0;
  double val_loss = 0;
  double train_loss = 0;
  double score = 0;
};

/// One `event` line: resume, checkpoint, nonfinite, stop, alarm, alarm_over.
struct RunEvent {
  std::int64_t step = 0;
  std::string event;
  std::string detail;
  std::string alarm{};                 // its kind, where the event is one of an alarm
  std::vector<std::string> modules{};  // where it is on or over
};

/// Metrics of a monitor that the report draws, as `monitor` lines name them.
inline constexpr std::array<const char*, 7> kMonitorCurves = {
    "z_fro",        "act_norm",    "y_stable_rank", "grad_norm", "grad_sketch_norm",
    "signal_share", "exact_cosine"};
/// The one that only runs with monitor.exact have.
inline constexpr std::size_t kExactCosine = kMonitorCurves.size() - 1;

/// One `monitor` line: numbers of each module, NaN where there is none.
struct MonitorPoint {
  std::int64_t step = 0;
  std::array<std::vector<double>, kMonitorCurves.size()> values;
  std::int64_t first_region = 0;
  std::vector<double> jacobian_local;   // of regions from first_region on; empty without regions
  std::vector<double> jacobian_suffix;  // likewise
};

/// The last `correlation` line: of each proxy with the exact gradient norm.
struct ProxyCorrelation {
  std::string proxy;
  double overall = 0;
  std::vector<double> modules;
};

/// The largest figures that any line gives for one memory tag.
struct TagPeak {
  std::string tag;
  std::int64_t peak_bytes = 0;
};

struct RunLog {
  std::filesystem::path dir;
  RunFacts facts;
  std::vector<TrainPoint> train;      // ascending steps
  std::vector<EvalPoint> evals;       // ascending steps
  std::vector<RunEvent> events;       // in the order of the file
  std::vector<TagPeak> memory;        // in the order of the file's first mention
  std::int64_t kept_bytes = 0;        // most residuals and sketches at once; 0: not logged
  std::int64_t reserved_bytes = 0;    // most bytes held from the system at once; 0: not logged
  std::int64_t repeated_lines = 0;    // superseded: a resumed run did these steps again
  bool has_torn_end = false;          // the last line was cut short, and left out
  std::vector<MonitorPoint> monitor;  // ascending steps
  std::vector<ProxyCorrelation> correlations;
  std::string config;  // text of config.yaml; empty when there is none

  /// protocol.json, where the run has been evaluated with it.
  std::optional<ProtocolResult> protocol;
};

/// Reads DIR/metrics.jsonl and, where they exist, DIR/config.yaml and DIR/protocol.json. A last
/// line that was cut short (the run was killed, or is being written) is left out. Where a resumed
/// run repeats steps, the later lines count. Lines of a kind unknown to the report are passed over.
/// Throws ghost::Error `FILE:LINE: ...` for any other line that is not what a run writes, and when
/// there is no metrics file or nothing in it.
RunLog read_run_log(const std::filesystem::path& dir);

/// Seconds inside steps: without evaluation, checkpoints and start. NaN when nothing was timed.
double seconds_in_steps(const RunLog& log);

/// The evaluation with the lowest finite val_loss, or null.
const EvalPoint* best_eval(const RunLog& log);

/// Median over the train lines of `tokens_per_s`, `ms_per_step` or `mfu`, NaN left out. The median,
/// because a first step that warms caches up should not count for the run.
double median_of(const RunLog& log, double TrainPoint::*field);

}  // namespace ghost
