#include "tools/train/command.h"

#include <iostream>
#include <memory>

#include "engine/config/fields.h"
#include "tools/run/config_options.h"
#include "tools/run/world.h"
#include "tools/train/trainer.h"

namespace ghost {
namespace {

struct TrainOptions {
  ConfigOptions config;
  std::string resume;
  bool overwrite = false;
  bool list_keys = false;
};

/// The sections whose keys hang on the model's type.
struct ModelKeys {
  ModelConfig model;
  DataConfig data;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("model", model, "");
    if (!model.is_language_model()) {
      visit("data", data, "");
    }
  }
};

/// The section that has keys where it is there.
struct MonitorKeys {
  MonitorConfig monitor;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("monitor", monitor, "");
  }
};

ModelKeys keys_of(ModelType type) {
  ModelKeys keys{.model = {.type = type}};
  keys.data.set_kind(keys.model.data_kind());
  return keys;
}

void list_keys() {
  std::cout << describe_config<Config>();
  for (const auto& [type, name] : EnumNames<ModelType>::kNames) {
    if (type != Config{}.model.type) {
      std::cout << "\nwith model.type: " << name << '\n' << describe_config(keys_of(type));
    }
  }
  std::cout << "\nwith a section monitor:\n" << describe_config(MonitorKeys{});
}

void train(const TrainOptions& options) {
  if (options.list_keys) {
    list_keys();
    return;
  }
  if (!options.resume.empty() && !std::filesystem::is_directory(options.resume)) {
    fail<ConfigError>("--resume {}: no such run directory", options.resume);
  }
  ConfigOptions source = options.config;
  if (source.file.empty() && options.resume.empty()) {
    fail<ConfigError>("train: expected a config file or --resume RUN_DIR");
  }
  if (source.file.empty()) {
    source.file = RunDirectory(options.resume).config();
  }
  Config config = source.load();
  StartMode mode = options.overwrite ? StartMode::kOverwrite : StartMode::kFresh;
  if (!options.resume.empty()) {
    config.run.dir = options.resume;
    mode = StartMode::kResume;
  }
  World world = make_world(config.parallel, rank_device(config.device));
  const StopSignal stop;
  std::ostream nowhere(nullptr);
  Console console(world.ranks().rank() == 0 ? std::cout : nowhere,
                  detect_console(config.train.log_every));
  Trainer trainer(std::move(config), mode, console, world.ranks());
  trainer.run(stop);
}

}  // namespace

void register_train(CLI::App& app) {
  const auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "train a model from a YAML config");
  command->add_option("CONFIG", options->config.file, "config file; with --resume, the run's own");
  options->config.add_to(*command);
  CLI::Option* resume = command->add_option(
      "--resume", options->resume, "go on with a run from its newest checkpoint, bit by bit");
  command->add_flag("--overwrite", options->overwrite, "delete what run.dir holds first")
      ->excludes(resume);
  command->add_flag("--keys", options->list_keys, "list every key of a config, and leave");
  command->callback([options] { train(*options); });
}

}  // namespace ghost
