#include "tools/run/loaded_run.h"

#include "data/data_config.h"
#include "data/gpt2_tokenizer.h"
#include "data/tokenizer_file.h"
#include "engine/config/config_tree.h"
#include "engine/config/fields.h"
#include "engine/device/device.h"
#include "engine/io/checkpoint.h"
#include "models/gpt/hf_weights.h"
#include "models/hybrid/hf_mamba2.h"
#include "tools/run/run_data.h"
#include "tools/run/run_directory.h"
#include "tools/run/threads.h"
#include "tools/run/weights_source.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;

/// Changes a config that is in no file.
Config with_overrides(const Config& config, const fs::path& name,
                      const std::vector<std::string>& overrides) {
  ConfigNode tree = parse_config(write_config(config), name);
  for (const std::string& assignment : overrides) {
    apply_override(tree, assignment);
  }
  return read_config<Config>(tree);
}

std::unique_ptr<Tokenizer> tokenizer_of_run(const LoadOptions& options, const Config& config,
                                            const RunDirectory& run) {
  if (!options.bpe.empty()) {
    return std::make_unique<Gpt2Tokenizer>(options.bpe);
  }
  if (fs::exists(run.tokenizer())) {
    return load_tokenizer(run.tokenizer());
  }
  return config.data.tokenizer.empty() ? nullptr : open_tokenizer(config.data);
}

DataFacts facts_of(const LoadedRun& run) {
  if (run.config.data.kind == DataKind::kTokens) {
    return run.tokenizer == nullptr ? 0 : run.tokenizer->vocab_size();
  }
  return data_facts_of(run.config);
}

LoadedRun with_model(std::string name, Config config, std::unique_ptr<Tokenizer> tokenizer) {
  LoadedRun run{
      .name = std::move(name), .config = std::move(config), .tokenizer = std::move(tokenizer)};
  set_threads(run.config.train.threads);
  run.ctx = std::make_unique<Context>(parse_device(run.config.device));
  run.ctx->set_training(false);
  run.model = make_any_model(run.config.model, facts_of(run));
  run.model->parameters().materialize(run.ctx->allocator(), parameter_dtype(run.config.train.dtype),
                                      activation_dtype(run.config.train.dtype));
  return run;
}

}  // namespace

LanguageModel& LoadedRun::language_model() const {
  auto* found = dynamic_cast<LanguageModel*>(model.get());
  if (found == nullptr) {
    fail<ConfigError>("{}: the model is of type {}; expected a language model", name,
                      model->architecture());
  }
  return *found;
}

void LoadOptions::add_to(CLI::App& command) {
  command
      .add_option("RUN_DIR", path,
                  "a run, a checkpoint of one, or a directory with Hugging Face's files")
      ->required();
  command.add_option("--checkpoint", checkpoint, "of a run: last or best")
      ->check(CLI::IsMember({"last", "best"}));
  command.add_option("--bpe", bpe, "directory with GPT-2's vocab.bpe and encoder.json");
  command.add_option("--set", overrides, "change a key: --set train.threads=1 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

LoadedRun load_run(const LoadOptions& options) {
  if (is_hf_directory(options.path)) {
    LoadedRun run =
        with_model(options.path.string(),
                   with_overrides(hf_run_config(options.path), options.path, options.overrides),
                   find_gpt2_tokenizer(options.bpe, options.path));
    load_weights(options.path, *run.model);
    run.model->parameters().refresh_working();
    return run;
  }
  const fs::path checkpoint = find_checkpoint(options.path, options.checkpoint);
  const RunDirectory directory = run_directory_of(checkpoint);
  Config config = load_run_config(directory.config(), options.overrides);
  auto tokenizer = tokenizer_of_run(options, config, directory);
  LoadedRun run = with_model(checkpoint.string(), std::move(config), std::move(tokenizer));
  run.step =
      load_model(checkpoint, run.model->architecture(), named_values(run.model->parameters())).step;
  run.model->parameters().refresh_working();
  return run;
}

bool is_hf_directory(const fs::path& path) {
  return fs::exists(path / "config.json") && fs::exists(path / "model.safetensors");
}

Config hf_run_config(const fs::path& directory) {
  Config config;
  config.train.batch_size = 1;
  const fs::path config_json = directory / "config.json";
  if (is_mamba2_config(config_json)) {
    config.model.type = ModelType::kMamba2;
    config.model.hybrid = read_mamba2_config(config_json);
    config.train.seq_len = 1024;
  } else {
    config.model.gpt = read_gpt2_config(config_json);
    config.train.seq_len = config.model.gpt.max_seq_len;
  }
  return config;
}

std::unique_ptr<Tokenizer> find_gpt2_tokenizer(const fs::path& bpe, const fs::path& directory) {
  if (!bpe.empty()) {
    return std::make_unique<Gpt2Tokenizer>(bpe);
  }
  const bool is_there =
      fs::exists(directory / "merges.txt") && fs::exists(directory / "vocab.json");
  return is_there ? std::make_unique<Gpt2Tokenizer>(directory) : nullptr;
}

}  // namespace ghost
