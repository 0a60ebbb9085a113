#include "tools/export/command.h"

#include <iostream>
#include <memory>

#include <fmt/ostream.h>

#include "data/gpt2_tokenizer.h"
#include "data/tokenizer_file.h"
#include "engine/config/fields.h"
#include "engine/device/device.h"
#include "engine/io/checkpoint.h"
#include "engine/io/file.h"
#include "models/gpt/hf_weights.h"
#include "models/hybrid/hf_mamba2.h"
#include "tools/console/quantity.h"
#include "tools/run/loaded_run.h"
#include "tools/run/run_directory.h"
#include "tools/run/weights_source.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;

struct ExportArguments {
  LoadOptions run;
  fs::path out;
  bool force = false;
};

struct ImportArguments {
  fs::path directory;
  fs::path out;
  fs::path bpe;
  bool overwrite = false;
};

void check_target(const ExportArguments& arguments) {
  const fs::path& out = arguments.out;
  if (fs::exists(out / "trainer.json")) {
    fail<ConfigError>("--out {} is a checkpoint; expected another directory", out.string());
  }
  if (!arguments.force && fs::exists(out / "model.safetensors")) {
    fail<ConfigError>("--out {} holds a model.safetensors already; pass --force to replace it",
                      out.string());
  }
}

/// GPT-2's two files under the names that Hugging Face looks for.
void export_tokenizer(const Gpt2Tokenizer& tokenizer, const fs::path& directory) {
  write_file_atomically(directory / "merges.txt", read_file(tokenizer.merges_file()));
  write_file_atomically(directory / "vocab.json", read_file(tokenizer.vocab_file()));
}

void export_run(const ExportArguments& arguments) {
  check_target(arguments);
  const LoadedRun run = load_run(arguments.run);
  const auto* gpt = dynamic_cast<const Gpt*>(run.model.get());
  if (gpt != nullptr) {
    export_gpt2(*gpt, arguments.out);
  } else if (const auto* hybrid = dynamic_cast<const Hybrid*>(run.model.get())) {
    export_mamba2(*hybrid, arguments.out);
  } else {
    fail<ConfigError>("{}: a model of {} has no Hugging Face form", run.name,
                      run.model->architecture());
  }
  if (const auto* tokenizer = dynamic_cast<const Gpt2Tokenizer*>(run.tokenizer.get())) {
    export_tokenizer(*tokenizer, arguments.out);
  }
  fmt::print(std::cout, "weights: {}\nwrote: {}, a {} of {} parameters\n", run.name,
             arguments.out.string(), gpt != nullptr ? "GPT2LMHeadModel" : "Mamba2ForCausalLM",
             format_short(static_cast<double>(run.model->parameters().num_elements())));
}

void import_run(const ImportArguments& arguments) {
  if (!is_hf_directory(arguments.directory)) {
    fail<ConfigError>(
        "{}: expected a directory with Hugging Face's config.json and model.safetensors of a GPT-2 "
        "or Mamba-2",
        arguments.directory.string());
  }
  Config config = hf_run_config(arguments.directory);
  config.run.dir = arguments.out.string();
  const auto tokenizer = find_gpt2_tokenizer(arguments.bpe, arguments.directory);
  const auto model = make_model(config.model, tokenizer == nullptr ? 0 : tokenizer->vocab_size());
  const Context ctx(Device{});
  model->parameters().materialize(ctx.allocator(), parameter_dtype(config.train.dtype));
  load_weights(arguments.directory, *model);

  const RunDirectory run(arguments.out);
  run.create(arguments.overwrite);
  write_file_atomically(run.config(), write_config(config));
  if (tokenizer != nullptr) {
    fs::create_directories(run.tokenizer());
    save_tokenizer(*tokenizer, run.tokenizer());
  }
  TrainerState state;
  state.architecture = model->architecture();
  const fs::path checkpoint =
      run.checkpoints().save(state, named_values(model->parameters()), /*optimizer=*/{});
  fmt::print(std::cout, "wrote: {}, {} parameters\ntokenizer: {}\n", checkpoint.string(),
             format_short(static_cast<double>(model->parameters().num_elements())),
             tokenizer == nullptr ? "none (pass --bpe DIR)" : "gpt2");
}

}  // namespace

void register_export(CLI::App& app) {
  const auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand(
      "export", "write a run's weights as Hugging Face's GPT2LMHeadModel or Mamba2ForCausalLM");
  arguments->run.add_to(*command);
  command->add_option("--out", arguments->out, "directory for model.safetensors and config.json")
      ->required();
  command->add_flag("--force", arguments->force, "replace weights that are there");
  command->callback([arguments] { export_run(*arguments); });
}

void register_import(CLI::App& app) {
  const auto arguments = std::make_shared<ImportArguments>();
  CLI::App* command =
      app.add_subcommand("import", "make a run of Hugging Face's weights of a GPT-2 or Mamba-2");
  command->add_option("HF_DIR", arguments->directory, "with config.json and model.safetensors")
      ->required();
  command->add_option("--out", arguments->out, "run directory to make")->required();
  command->add_option("--bpe", arguments->bpe,
                      "directory with vocab.bpe and encoder.json (default: HF_DIR, if there)");
  command->add_flag("--overwrite", arguments->overwrite, "delete the run that is there first");
  command->callback([arguments] { import_run(*arguments); });
}

}  // namespace ghost
