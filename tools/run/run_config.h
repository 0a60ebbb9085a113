#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/data_config.h"
#include "engine/autograd/residual_plan.h"
#include "engine/config/enum_names.h"
#include "engine/tensor/dtype.h"
#include "models/model_config.h"
#include "ops/optim/optimizer.h"
#include "ops/optim/schedule.h"
#include "tools/monitor/monitor_config.h"

namespace ghost {

enum class TrainDType {
  kF32,
  kBF16,  // activations in bf16; parameters, their gradients and all statistics in f32
  kF64,
};
enum class OnNonfinite { kStop, kSkip };

template <>
struct EnumNames<TrainDType> {
  static constexpr EnumName<TrainDType> kNames[] = {
      {TrainDType::kF32, "f32"}, {TrainDType::kBF16, "bf16"}, {TrainDType::kF64, "f64"}};
};

template <>
struct EnumNames<OnNonfinite> {
  static constexpr EnumName<OnNonfinite> kNames[] = {{OnNonfinite::kStop, "stop"},
                                                     {OnNonfinite::kSkip, "skip"}};
};

/// Where a run leaves its files.
struct RunConfig {
  std::string dir;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("dir", dir, "run directory; empty: runs/NAME of the config file");
  }
};

/// The training loop.
struct TrainConfig {
  std::int64_t steps = 1000;
  std::int64_t epochs = 0;
  std::int64_t batch_size = 12;
  std::int64_t seq_len = 64;  // 1 where samples have no tokens; then it is no key
  bool has_sequences = true;
  std::int64_t micro_steps = 1;
  TrainDType dtype = TrainDType::kF32;
  std::int64_t seed = 1337;
  std::int64_t threads = 0;
  OnNonfinite on_nonfinite = OnNonfinite::kStop;
  std::int64_t log_every = 10;
  std::string init_from;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("steps", steps, "optimizer steps, >= 0");
    visit("epochs", epochs,
          "passes over the training data, instead of steps: the smallest number of steps that "
          "holds them; 0: as steps says");
    visit("batch_size", batch_size, "samples (of text: sequences) a micro-step, > 0");
    if (has_sequences) {
      visit("seq_len", seq_len, "tokens a sequence, > 0");
    }
    visit("micro_steps", micro_steps, "gradient accumulation: batches a step, 1 to 256");
    visit("dtype", dtype,
          "f32; bf16: activations in bf16, on CUDA; f64: for verification, on the CPU");
    visit("seed", seed, "of weights, data order and dropout, >= 0");
    visit("threads", threads, "0: one a core");
    visit("on_nonfinite", on_nonfinite, "stop, or skip the update of the step");
    visit("log_every", log_every, "steps between console lines, > 0");
    visit("init_from", init_from,
          "weights to start from: a run, a checkpoint, or a directory "
          "with Hugging Face weights");
  }
  void validate(const std::string& prefix) const;
};

/// Evaluation on the validation split.
struct EvalConfig {
  std::int64_t every = 250;
  std::int64_t batches = 20;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("every", every, "steps between evaluations; 0: only after the last step");
    visit("batches", batches, "batches an evaluation; 0: the whole split");
  }
  void validate(const std::string& prefix) const;
};

struct CheckpointConfig {
  std::int64_t every = 0;
  std::int64_t keep_last = 2;
  bool keep_best = true;
  bool background = true;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("every", every, "steps between checkpoints; 0: with each evaluation");
    visit("keep_last", keep_last, "checkpoints kept, >= 1");
    visit("keep_best", keep_best, "also keep the one with the lowest val_loss");
    visit("background", background,
          "write while training goes on, from a copy in memory of the host");
  }
  void validate(const std::string& prefix) const;
};

/// How replicas sum weight gradients.
enum class GradientExchange {
  kProducts,  // every gradient as it is
  kFactors,   // those of sketched linears before their product, where that is less
};

template <>
struct EnumNames<GradientExchange> {
  static constexpr EnumName<GradientExchange> kNames[] = {{GradientExchange::kProducts, "products"},
                                                          {GradientExchange::kFactors, "factors"}};
};

/// What messages between ranks go over.
enum class Transport { kAuto, kMpi, kNccl };

template <>
struct EnumNames<Transport> {
  static constexpr EnumName<Transport> kNames[] = {
      {Transport::kAuto, "auto"}, {Transport::kMpi, "mpi"}, {Transport::kNccl, "nccl"}};
};

/// Ranks: processes of one job (mpirun). Those that do not share a model are replicas of it.
struct ParallelConfig {
  std::int64_t region_ranks = 1;
  GradientExchange gradients = GradientExchange::kProducts;
  Transport transport = Transport::kAuto;
  double timeout_s = 300;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("region_ranks", region_ranks,
          "ranks that share the regions of a model, > 0; a divisor of the ranks of the job");
    visit("gradients", gradients,
          "what replicas exchange: products; factors: the two halves of sketched gradients where "
          "they are smaller, on the CPU");
    visit("transport", transport,
          "of messages: auto: nccl where every rank has a GPU of its own, else mpi");
    visit("timeout_s", timeout_s, "longest wait for another rank, > 0");
  }
  void validate(const std::string& prefix) const;
};

/// A whole config file.
struct Config {
  RunConfig run;
  std::string device = "cpu";
  DataConfig data;
  ModelConfig model;
  TrainConfig train;
  ParallelConfig parallel;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  ResidualsConfig residuals;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  std::optional<MonitorConfig> monitor;  // where the file has the section

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("run", run, "");
    visit("device", device, "cpu, cuda or cuda:N");
    visit("data", data, "");
    visit("model", model, "");
    visit("train", train, "");
    visit("parallel", parallel, "");
    visit("optimizer", optimizer, "");
    visit("schedule", schedule, "");
    visit("residuals", residuals, "");
    visit("eval", eval, "");
    visit("checkpoint", checkpoint, "");
    if (monitor.has_value()) {
      visit("monitor", *monitor, "");
    }
  }
  void choose_fields(const ConfigNode& root);
  /// Another type of model, with the keys of its kind of data.
  void set_model_type(ModelType type);
  void validate(const std::string& prefix) const;

  /// Of one replica: items, which are tokens where samples have them.
  std::int64_t tokens_per_step() const {
    return train.batch_size * train.seq_len * train.micro_steps;
  }
};

/// Of parameters, their gradients and the optimizer's state.
DType parameter_dtype(TrainDType dtype);
/// Of activations, and of the weights that ops are handed.
DType activation_dtype(TrainDType dtype);

/// Reads a config file with its bases, applies `overrides` (a.b=c) and checks everything. An empty
/// run.dir becomes runs/NAME. Throws ghost::ConfigError.
Config load_run_config(const std::filesystem::path& path,
                       const std::vector<std::string>& overrides);

}  // namespace ghost
