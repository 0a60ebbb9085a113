#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tools/console/console.h"
#include "tools/run/run_data.h"
#include "tools/run/run_directory.h"
#include "tools/run/stop_signal.h"
#include "tools/train/checkpoint_writer.h"
#include "tools/train/metrics_log.h"
#include "tools/train/training_step.h"

namespace ghost {

enum class StartMode {
  kFresh,      // the run directory must not hold a run
  kOverwrite,  // what the run directory holds is deleted
  kResume,     // go on from the newest complete checkpoint, or from the start when there is none
};

/// A whole run: data, model, loop, evaluation, checkpoints, logs. On several ranks all members are
/// collective, and rank 0 alone writes files.
class Trainer {
 public:
  /// Opens the data, builds the model, fills it (fresh, from `train.init_from`, or from the newest
  /// checkpoint) and writes config.yaml. Throws ghost::ConfigError or ghost::Error. `console` of
  /// rank 0 is the run's; `world` must outlive the trainer.
  Trainer(Config config, StartMode mode, Console& console, Communicator& world);

  /// Trains to `train.steps` or to the first step boundary after a stop signal.
  void run(const StopSignal& stop);

  double last_val_loss() const { return last_val_loss_; }

 private:
  void restore(const std::filesystem::path& checkpoint);
  void begin(StartMode mode);
  void write_run_files() const;
  void announce();
  bool is_writer() const { return grid_.is_writer(); }
  /// Items of all replicas.
  std::int64_t tokens_per_step() const;
  /// `train.steps`, where `train.epochs` says how many.
  void count_steps();
  /// Whether any rank was told to stop. Finishes a checkpoint that all have written.
  bool stops(const StopSignal& stop);
  StepFacts train_step();
  void log_step(const StepFacts& facts);
  void log_observation(const MonitorRecord& record);
  void log_correlations();
  void handle_nonfinite(const StepFacts& facts);
  void evaluate();
  void save_checkpoint(CheckpointWriter::When when);
  FillBatch batches_of(std::int64_t step) const;

  Config config_;
  Console& console_;
  RankGrid grid_;
  RunDirectory directory_;
  RunData data_;
  std::unique_ptr<Model> model_;
  Placement placement_;
  std::unique_ptr<TrainingStep> step_;
  std::unique_ptr<MetricsLog> metrics_;  // of rank 0
  CheckpointWriter checkpoints_;
  TrainerState state_;
  std::optional<std::int64_t> saved_step_;  // of the newest checkpoint, which may still be written
  PeakFlops peak_;
  double last_val_loss_ = 0;
  std::chrono::steady_clock::time_point step_began_;
  std::chrono::steady_clock::time_point run_began_;
  std::int64_t first_step_ = 0;
};

}  // namespace ghost
