#include "tools/data/command.h"

#include <iostream>
#include <memory>

#include <fmt/ostream.h>

#include "data/fetch.h"
#include "data/info.h"
#include "tools/console/quantity.h"
#include "tools/data/data_root.h"
#include "tools/data/prepare_command.h"
#include "tools/data/progress_line.h"
#include "tools/data/uniform_command.h"

namespace ghost {
namespace {

struct FetchArguments {
  std::string name;
  std::int64_t num_shards = FetchOptions{}.num_shards;
  std::filesystem::path from;
  DataRootOption root;
};

std::string describe_progress(std::string_view file, std::int64_t received, std::int64_t total) {
  if (total <= 0) {
    return fmt::format("{}  {}", file, format_bytes(received));
  }
  return fmt::format("{}  {} of {} ({:.0f}%)", file, format_bytes(received), format_bytes(total),
                     100.0 * static_cast<double>(received) / static_cast<double>(total));
}

void fetch_data(const FetchArguments& arguments) {
  ProgressLine progress;
  const FetchOptions options{
      .root = arguments.root.path(),
      .from = arguments.from,
      .num_shards = arguments.num_shards,
      .progress = [&](std::string_view file, std::int64_t received, std::int64_t total) {
        progress.show(describe_progress(file, received, total));
      }};
  const auto paths = fetch(arguments.name, options);
  progress.finish();
  for (const auto& path : paths) {
    fmt::print(std::cout, "{}\n", path.string());
  }
}

void register_fetch(CLI::App& data) {
  const auto arguments = std::make_shared<FetchArguments>();
  CLI::App* command = data.add_subcommand("fetch", "download data, or copy it from --from");
  command
      ->add_option("NAME", arguments->name,
                   fmt::format("one of {}", fmt::join(fetchable_names(), ", ")))
      ->required();
  command->add_option("--shards", arguments->num_shards,
                      "of fineweb10B-gpt2: training files of 100 M tokens, 1 to 103 (default 10)");
  command->add_option("--from", arguments->from, "a local copy: the file, or its directory");
  arguments->root.add_to(*command);
  command->callback([arguments] { fetch_data(*arguments); });
}

void register_info(CLI::App& data) {
  const auto file = std::make_shared<std::filesystem::path>();
  CLI::App* command = data.add_subcommand("info", "say what a data file holds");
  command->add_option("FILE", *file, "token file, text, images, tokenizer.json or safetensors")
      ->required();
  command->callback([file] { std::cout << describe_data_file(*file); });
}

}  // namespace

void register_data(CLI::App& app) {
  CLI::App* data = app.add_subcommand("data", "prepare, fetch and describe data files");
  data->require_subcommand(1);
  register_data_prepare(*data);
  register_data_uniform(*data);
  register_fetch(*data);
  register_info(*data);
}

}  // namespace ghost
