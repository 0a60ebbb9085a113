#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/tokenizer.h"
#include "engine/autograd/context.h"
#include "models/language_model.h"
#include "tools/run/run_config.h"

namespace ghost {

/// What names the weights that a command reads.
struct LoadOptions {
  std::filesystem::path path;       // a run, a checkpoint, or Hugging Face's files
  std::string checkpoint = "last";  // of a run: last or best
  std::filesystem::path bpe;        // GPT-2's tokenizer files; empty: the run's own tokenizer
  std::vector<std::string> overrides;

  /// RUN_DIR, --checkpoint, --bpe and --set.
  void add_to(CLI::App& command);
};

/// A model as a run left it, ready to read text.
struct LoadedRun {
  std::string name;  // the checkpoint or directory that the weights are from
  Config config;
  std::int64_t step = 0;                 // that the run had taken
  std::unique_ptr<Tokenizer> tokenizer;  // null where there is none
  std::unique_ptr<Context> ctx;          // not training
  std::unique_ptr<Model> model;          // with its weights

  /// Throws ghost::ConfigError when the model is of another kind.
  LanguageModel& language_model() const;
};

/// Opens a run for reading and sets the number of threads. Throws ghost::ConfigError when there is
/// no such run or its config is not valid, ghost::Error for files that are damaged or do not fit.
LoadedRun load_run(const LoadOptions& options);

/// Whether `path` is a directory with Hugging Face's files: config.json, model.safetensors.
bool is_hf_directory(const std::filesystem::path& path);

/// The config of a run that starts from such a directory, of a GPT-2 or a Mamba-2: its model, one
/// sequence a batch, of a GPT-2 of its full length, all else by default.
Config hf_run_config(const std::filesystem::path& directory);

/// GPT-2's tokenizer from `bpe`, or else from `directory` where its files lie there; may be null.
std::unique_ptr<Tokenizer> find_gpt2_tokenizer(const std::filesystem::path& bpe,
                                               const std::filesystem::path& directory);

}  // namespace ghost
