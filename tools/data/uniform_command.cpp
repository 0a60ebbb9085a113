#include "tools/data/uniform_command.h"

#include <cmath>
#include <iostream>
#include <limits>
#include <memory>

#include <fmt/ostream.h>

#include "data/uniform_tokens.h"
#include "engine/config/check_range.h"
#include "tools/console/quantity.h"
#include "tools/data/data_root.h"

namespace ghost {
namespace {

struct UniformArguments {
  std::int64_t vocab_size = UniformTokensOptions{}.vocab_size;
  std::int64_t train_tokens = UniformTokensOptions{}.train_tokens;
  std::int64_t val_tokens = UniformTokensOptions{}.val_tokens;
  std::int64_t seed = 1;
  std::filesystem::path out;
  bool force = false;
  DataRootOption root;
};

void write_uniform(const UniformArguments& arguments) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  check_range(arguments.vocab_size > 0 && arguments.vocab_size <= kLargest, "--vocab-size",
              arguments.vocab_size, fmt::format("1 to {}", kLargest));
  check_range(arguments.train_tokens > 0, "--tokens", arguments.train_tokens, "a positive integer");
  check_range(arguments.val_tokens > 0, "--val-tokens", arguments.val_tokens, "a positive integer");
  check_range(arguments.seed >= 0, "--seed", arguments.seed, "zero or a positive integer");
  const auto output = arguments.out.empty()
                          ? arguments.root.path() / fmt::format("uniform_{}", arguments.vocab_size)
                          : arguments.out;
  write_uniform_tokens({.output = output,
                        .vocab_size = static_cast<std::int32_t>(arguments.vocab_size),
                        .train_tokens = arguments.train_tokens,
                        .val_tokens = arguments.val_tokens,
                        .seed = static_cast<std::uint64_t>(arguments.seed),
                        .force = arguments.force});
  fmt::print(std::cout, "wrote: {}\n", output.string());
  fmt::print(std::cout, "training tokens: {}\n", format_count(arguments.train_tokens));
  fmt::print(std::cout, "validation tokens: {}\n", format_count(arguments.val_tokens));
  fmt::print(std::cout, "lowest loss of a predictor: ln {} = {:.4f}\n", arguments.vocab_size,
             std::log(static_cast<double>(arguments.vocab_size)));
}

}  // namespace

void register_data_uniform(CLI::App& data) {
  const auto arguments = std::make_shared<UniformArguments>();
  CLI::App* command =
      data.add_subcommand("uniform", "write independent uniform tokens, which nothing predicts");
  command->add_option("--vocab-size", arguments->vocab_size, "different tokens (default 8)");
  command->add_option("--tokens", arguments->train_tokens, "for training (default 1 M)");
  command->add_option("--val-tokens", arguments->val_tokens, "for validation (default 100 k)");
  command->add_option("--seed", arguments->seed, "of the draws (default 1)");
  command->add_option("--out", arguments->out,
                      "directory to write (default: uniform_N below data.root)");
  command->add_flag("--force", arguments->force, "replace a prepared set");
  arguments->root.add_to(*command);
  command->callback([arguments] { write_uniform(*arguments); });
}

}  // namespace ghost
