#include "tools/run/run_config.h"

#include "engine/config/check_range.h"
#include "engine/config/config_tree.h"
#include "engine/config/fields.h"
#include "engine/device/device.h"
#include "models/lbi/parallel_lbi.h"

namespace ghost {
namespace {

void validate_ranks_of_model(const Config& config) {
  const std::int64_t ranks = config.parallel.region_ranks;
  const std::optional<RegionsConfig>& regions = config.model.regions;
  check_range(ranks == 1 || regions.has_value(), "parallel.region_ranks", ranks,
              "1 for a model without model.regions");
  if (regions.has_value()) {
    validate_region_ranks(*regions, num_regions(*regions, config.model.layers()), ranks);
  }
  const bool is_remembered = ranks == 1 || !config.residuals.sketch.wiener;
  check_range(is_remembered, "residuals.sketch.wiener", true,
              fmt::format("false where parallel.region_ranks is {}", ranks));
  if (config.monitor.has_value()) {
    check_range(ranks == 1, "monitor.every", config.monitor->every,
                fmt::format("no section monitor where parallel.region_ranks is {}", ranks));
  }
  const bool has_averages = config.residuals.has_rule(Keep::kEmaSketch);
  check_range(ranks == 1 || !has_averages, "parallel.region_ranks", ranks,
              "1 where a rule keeps ema_sketch");
}

}  // namespace

void TrainConfig::validate(const std::string& prefix) const {
  check_range(steps >= 0, prefix + "steps", steps, "zero or a positive integer");
  check_range(epochs >= 0, prefix + "epochs", epochs, "zero or a positive integer");
  check_range(batch_size > 0, prefix + "batch_size", batch_size, "a positive integer");
  check_range(seq_len > 0, prefix + "seq_len", seq_len, "a positive integer");
  check_range(micro_steps > 0 && micro_steps <= 256, prefix + "micro_steps", micro_steps,
              "1 to 256");
  check_range(seed >= 0, prefix + "seed", seed, "zero or a positive integer");
  check_range(threads >= 0, prefix + "threads", threads, "zero or a positive integer");
  check_range(log_every > 0, prefix + "log_every", log_every, "a positive integer");
}

void EvalConfig::validate(const std::string& prefix) const {
  check_range(every >= 0, prefix + "every", every, "zero or a positive integer");
  check_range(batches >= 0, prefix + "batches", batches, "zero or a positive integer");
}

void CheckpointConfig::validate(const std::string& prefix) const {
  check_range(every >= 0, prefix + "every", every, "zero or a positive integer");
  check_range(keep_last >= 1, prefix + "keep_last", keep_last, "a positive integer");
}

void ParallelConfig::validate(const std::string& prefix) const {
  check_range(region_ranks > 0, prefix + "region_ranks", region_ranks, "a positive integer");
  check_range(timeout_s > 0, prefix + "timeout_s", timeout_s, "a positive number");
}

void Config::choose_fields(const ConfigNode& root) {
  if (const ConfigNode* section = root.find("model")) {
    model.choose_fields(*section);
    set_model_type(model.type);
  }
  if (root.find("monitor") != nullptr && !monitor.has_value()) {
    monitor.emplace();
  }
}

void Config::set_model_type(ModelType type) {
  model.type = type;
  if (data.kind == model.data_kind()) {
    return;
  }
  data.set_kind(model.data_kind());
  train.has_sequences = model.is_language_model();
  train.seq_len = train.has_sequences ? TrainConfig{}.seq_len : 1;
}

void Config::validate(const std::string& prefix) const {
  const std::int64_t longest = model.max_seq_len();
  check_range(longest == 0 || train.seq_len <= longest, prefix + "train.seq_len", train.seq_len,
              fmt::format("at most model.max_seq_len {}, the position table", longest));
  // Whether this machine has the device is asked by what runs on it: plans need none.
  const bool is_cuda = read_device(device).is_cuda();
  check_range(!is_cuda || train.dtype != TrainDType::kF64, prefix + "train.dtype", train.dtype,
              fmt::format("f32 or bf16 where device is {}, as f64 runs on the CPU only", device));
  check_range(!is_cuda || parallel.gradients == GradientExchange::kProducts,
              prefix + "parallel.gradients", parallel.gradients,
              fmt::format("products where device is {}", device));
  validate_ranks_of_model(*this);
}

DType parameter_dtype(TrainDType dtype) { return statistic_dtype(activation_dtype(dtype)); }

DType activation_dtype(TrainDType dtype) {
  switch (dtype) {
    case TrainDType::kF32:
      return DType::kF32;
    case TrainDType::kBF16:
      return DType::kBF16;
    case TrainDType::kF64:
      return DType::kF64;
  }
  fail("a train.dtype without a dtype");
}

Config load_run_config(const std::filesystem::path& path,
                       const std::vector<std::string>& overrides) {
  ConfigNode tree = load_config(path);
  for (const std::string& assignment : overrides) {
    apply_override(tree, assignment);
  }
  Config config = read_config<Config>(tree);
  if (config.run.dir.empty()) {
    config.run.dir = (std::filesystem::path("runs") / path.stem()).string();
  }
  return config;
}

}  // namespace ghost
