#include "tools/eval/command.h"

#include <iostream>
#include <memory>

#include <fmt/ostream.h>
#include <nlohmann/json.hpp>

#include "engine/config/check_range.h"
#include "tools/console/quantity.h"
#include "tools/eval/evaluation.h"

namespace ghost {
namespace {

struct EvalArguments {
  LoadOptions run;
  std::optional<std::int64_t> batches;
  bool json = false;
};

/// One token is one character of text exactly.
bool has_character_tokens(const LoadedRun& run) {
  return run.tokenizer != nullptr && run.tokenizer->kind() == TokenizerKind::kChar;
}

void print_json(const LoadedRun& run, const Evaluation& result) {
  nlohmann::ordered_json line = {{"val_loss", result.val_loss},
                                 {"perplexity", result.perplexity()},
                                 {"bits_per_token", result.bits_per_token()}};
  if (has_character_tokens(run)) {
    line["bits_per_character"] = result.bits_per_token();
  }
  if (const auto bits = result.bits_per_byte()) {
    line["bits_per_byte"] = *bits;
  }
  line["batches"] = result.batches;
  line["tokens"] = result.tokens;
  line["batch_size"] = run.config.train.batch_size;
  line["seq_len"] = run.config.train.seq_len;
  line["weights"] = run.name;
  std::cout << line.dump() << "\n";
}

void print_lines(const LoadedRun& run, const Evaluation& result) {
  fmt::print(std::cout, "weights: {}\n", run.name);
  fmt::print(std::cout, "val loss: {:.4f}\n", result.val_loss);
  fmt::print(std::cout, "perplexity: {:.2f}\n", result.perplexity());
  if (has_character_tokens(run)) {
    fmt::print(std::cout, "bits per character: {:.4f}\n", result.bits_per_token());
  }
  if (const auto bits = result.bits_per_byte()) {
    fmt::print(std::cout, "bits per byte: {:.4f}\n", *bits);
  }
  fmt::print(std::cout, "batches: {} of {} x {}, {} tokens\n", result.batches,
             run.config.train.batch_size, run.config.train.seq_len, format_count(result.tokens));
}

void eval(const EvalArguments& arguments) {
  if (arguments.batches.has_value()) {
    check_range(*arguments.batches >= 0, "--batches", *arguments.batches,
                "zero or a positive integer");
  }
  LoadedRun run = load_run(arguments.run);
  const Evaluation result = evaluate(run, arguments.batches.value_or(run.config.eval.batches));
  if (arguments.json) {
    print_json(run, result);
  } else {
    print_lines(run, result);
  }
}

}  // namespace

void register_eval(CLI::App& app) {
  const auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "loss of a trained model on its validation split");
  arguments->run.add_to(*command);
  command->add_option("--batches", arguments->batches,
                      "batches to evaluate; 0: the whole split (default: eval.batches of the run)");
  command->add_flag("--json", arguments->json, "print one JSON object on one line");
  command->callback([arguments] { eval(*arguments); });
}

}  // namespace ghost
