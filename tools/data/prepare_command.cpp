#include "tools/data/prepare_command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>

#include <fmt/ostream.h>

#include "data/prepare.h"
#include "engine/core/error.h"
#include "tools/console/quantity.h"
#include "tools/data/data_root.h"
#include "tools/data/progress_line.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;

struct PrepareArguments {
  std::vector<std::string> inputs;
  fs::path from;
  std::string tokenizer = "gpt2";
  fs::path bpe;
  fs::path out;
  double val_fraction = 0.1;
  std::string field = "text";
  std::int64_t shard_tokens = 100'000'000;
  bool force = false;
  DataRootOption root;
};

/// Options that describe a set, which a recipe does on its own.
constexpr const char* kFileOptions[] = {"--tokenizer",    "--bpe",   "--out",
                                        "--val-fraction", "--field", "--shard-tokens"};

bool is_recipe(const PrepareArguments& arguments) {
  const auto names = prepared_names();
  return arguments.inputs.size() == 1 &&
         std::find(names.begin(), names.end(), arguments.inputs.front()) != names.end();
}

/// shakespeare.txt.gz -> shakespeare
std::string name_of(const fs::path& input) {
  fs::path name = input.filename();
  if (name.extension() == ".gz") {
    name = name.stem();
  }
  return name.stem().string();
}

fs::path output_of(const PrepareArguments& arguments) {
  if (arguments.out.empty()) {
    if (arguments.inputs.size() > 1) {
      fail<ConfigError>("data prepare: {} files; pass --out DIR", arguments.inputs.size());
    }
    return arguments.root.path() /
           fmt::format("{}_{}", name_of(arguments.inputs.front()), arguments.tokenizer);
  }
  if (arguments.out.extension() == ".bin") {
    fail<ConfigError>(
        "--out {}: expected a directory; with --val-fraction 0 its train_000000.bin is all of the "
        "text",
        arguments.out.string());
  }
  return arguments.out;
}

fs::path bpe_directory(const PrepareArguments& arguments) {
  const fs::path directory = arguments.bpe.empty() ? arguments.root.path() / "gpt2" : arguments.bpe;
  if (!fs::exists(directory / "vocab.bpe") && !fs::exists(directory / "merges.txt")) {
    fail<ConfigError>(
        "no vocab.bpe in {}; run `ghostgrad data fetch gpt2-bpe`, or pass --bpe DIR or another "
        "--tokenizer",
        directory.string());
  }
  return directory;
}

PrepareResult prepare_files(const PrepareArguments& arguments) {
  if (!arguments.from.empty()) {
    fail<ConfigError>("--from goes with a recipe ({}); files are given by their own names",
                      fmt::join(prepared_names(), ", "));
  }
  const double fraction = arguments.val_fraction;
  if (!(fraction >= 0 && fraction < 1)) {
    fail<ConfigError>("--val-fraction is {}; expected 0 to less than 1", fraction);
  }
  constexpr std::int64_t kLargestShard = std::numeric_limits<std::int32_t>::max();
  if (arguments.shard_tokens < 1 || arguments.shard_tokens > kLargestShard) {
    fail<ConfigError>("--shard-tokens is {}; expected 1 to {}", arguments.shard_tokens,
                      kLargestShard);
  }
  ProgressLine progress;
  PrepareOptions options{.tokenizer = parse_tokenizer_kind(arguments.tokenizer),
                         .val_fraction = fraction,
                         .shard_tokens = arguments.shard_tokens,
                         .field = arguments.field,
                         .force = arguments.force,
                         .progress = [&](std::int64_t bytes) {
                           progress.show(fmt::format("{} of text encoded", format_bytes(bytes)));
                         }};
  for (const std::string& input : arguments.inputs) {
    if (!fs::is_regular_file(input)) {
      fail<ConfigError>("{}: no such file, and no recipe; recipes are {}", input,
                        fmt::join(prepared_names(), ", "));
    }
    options.inputs.emplace_back(input);
  }
  options.output = output_of(arguments);
  if (options.tokenizer == TokenizerKind::kGpt2) {
    options.bpe_directory = bpe_directory(arguments);
  }
  return prepare_text(options);
}

void print_result(const PrepareResult& result) {
  fmt::print(std::cout, "wrote: {}\n", result.output.string());
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(result.output)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const bool is_shard = file.extension() == ".bin";
    fmt::print(std::cout, "  {}{}\n", file.filename().string(),
               is_shard ? fmt::format(": {} tokens", format_count(TokenShard(file).num_tokens()))
                        : std::string());
  }
  fmt::print(std::cout, "training tokens: {}\n", format_count(result.train_tokens));
  fmt::print(std::cout, "validation tokens: {}\n", format_count(result.val_tokens));
  fmt::print(std::cout, "vocabulary: {}\n", format_count(result.vocab_size));
  fmt::print(std::cout, "documents: {}\n", format_count(result.documents));
  fmt::print(std::cout, "characters: {}\n", format_count(result.characters));
}

void prepare(const PrepareArguments& arguments, const CLI::App& command) {
  if (!is_recipe(arguments)) {
    print_result(prepare_files(arguments));
    return;
  }
  const std::string& name = arguments.inputs.front();
  for (const char* option : kFileOptions) {
    if (command.count(option) > 0) {
      fail<ConfigError>("{} does not go with the recipe {}; pass the file itself to choose it",
                        option, name);
    }
  }
  print_result(prepare_named(name, arguments.from, arguments.root.path(), arguments.force));
}

}  // namespace

void register_data_prepare(CLI::App& data) {
  const auto arguments = std::make_shared<PrepareArguments>();
  CLI::App* command = data.add_subcommand("prepare", "make token files from text");
  command
      ->add_option("NAME_OR_FILES", arguments->inputs,
                   fmt::format("a recipe ({}), or files: .txt, .jsonl, .ndjson, each also .gz",
                               fmt::join(prepared_names(), ", ")))
      ->required();
  command->add_option("--from", arguments->from, "of a recipe: its text file or source tree");
  command->add_option("--tokenizer", arguments->tokenizer, "byte, char or gpt2 (the default)");
  command->add_option("--bpe", arguments->bpe,
                      "directory with vocab.bpe and encoder.json (default: gpt2 below data.root)");
  command->add_option("--out", arguments->out,
                      "directory to write (default: NAME_TOKENIZER below data.root)");
  command->add_option("--val-fraction", arguments->val_fraction,
                      "share of the text for validation (default 0.1; 0: none)");
  command->add_option("--field", arguments->field, "of JSON lines: where the text is");
  command->add_option("--shard-tokens", arguments->shard_tokens, "of a full file (default 100 M)");
  command->add_flag("--force", arguments->force, "replace a prepared set");
  arguments->root.add_to(*command);
  command->callback([arguments, command] { prepare(*arguments, *command); });
}

}  // namespace ghost
