#include "tools/eval/command.h"

#include <iostream>
#include <memory>

#include <fmt/ostream.h>
#include <nlohmann/json.hpp>

#include "engine/config/check_range.h"
#include "engine/io/file.h"
#include "models/lbi/position_losses.h"
#include "tools/console/quantity.h"
#include "tools/console/step_line.h"
#include "tools/eval/evaluation.h"
#include "tools/eval/protocol.h"
#include "tools/eval/protocol_text.h"
#include "tools/run/run_directory.h"

namespace ghost {
namespace {

struct EvalArguments {
  LoadOptions run;
  std::optional<std::int64_t> batches;
  bool json = false;
  ProtocolOptions protocol;
  std::filesystem::path baseline;
};

/// One token is one character of text exactly.
bool has_character_tokens(const LoadedRun& run) {
  return run.tokenizer != nullptr && run.tokenizer->kind() == TokenizerKind::kChar;
}

void print_samples_json(const LoadedRun& run, const Evaluation& result) {
  nlohmann::ordered_json line = {{"val_loss", result.val_loss}};
  if (result.score.has_value()) {
    line[std::string(run.model->score_name())] = *result.score;
  }
  line["batches"] = result.batches;
  line["samples"] = result.tokens;
  line["batch_size"] = run.config.train.batch_size;
  line["weights"] = run.name;
  std::cout << line.dump() << "\n";
}

void print_samples(const LoadedRun& run, const Evaluation& result) {
  fmt::print(std::cout, "weights: {}\nval loss: {:.4f}\n", run.name, result.val_loss);
  if (result.score.has_value()) {
    fmt::print(std::cout, "{}: {}\n", run.model->score_name(),
               format_score(run.model->score_name(), *result.score));
  }
  fmt::print(std::cout, "batches: {} of {}, {} {}s\n", result.batches, run.config.train.batch_size,
             format_count(result.tokens), run.model->item_name());
}

void print_json(const LoadedRun& run, const Evaluation& result) {
  nlohmann::ordered_json line = {{"val_loss", result.val_loss},
                                 {"perplexity", result.perplexity()},
                                 {"bits_per_token", result.bits_per_token()}};
  if (const auto label = loss_label(run.config.model.regions); !label.empty()) {
    line["loss_label"] = label;
  }
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
  const std::string_view label = loss_label(run.config.model.regions);
  fmt::print(std::cout, "val loss: {:.4f}{}\n", result.val_loss,
             label.empty() ? "" : fmt::format(" ({})", label));
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

/// The other run as it was trained, in windows and on the device of this one.
LoadedRun load_baseline(const std::filesystem::path& path, const Config& config) {
  LoadOptions options{.path = path, .bpe = {}, .overrides = {}};
  options.overrides = {fmt::format("device={}", config.device),
                       fmt::format("train.threads={}", config.train.threads),
                       fmt::format("train.seq_len={}", config.train.seq_len)};
  return load_run(options);
}

void eval_protocol(const EvalArguments& arguments, LoadedRun& run) {
  ProtocolOptions options = arguments.protocol;
  options.max_batches = arguments.batches.value_or(run.config.eval.batches);
  std::optional<LoadedRun> baseline;
  if (!arguments.baseline.empty()) {
    baseline.emplace(load_baseline(arguments.baseline, run.config));
    options.baseline = &*baseline;
  }
  const ProtocolResult result = run_protocol(run, options);
  const std::string json = to_json(result).dump() + "\n";
  std::cout << (arguments.json ? json : protocol_text(result));
  if (!is_hf_directory(arguments.run.path)) {
    write_file_atomically(run_directory_of(arguments.run.path).protocol(), json);
  }
}

void eval(const EvalArguments& arguments) {
  if (arguments.batches.has_value()) {
    check_range(*arguments.batches >= 0, "--batches", *arguments.batches,
                "zero or a positive integer");
  }
  const bool has_protocol = !arguments.protocol.parts.empty();
  if (!has_protocol && (!arguments.baseline.empty() || arguments.protocol.refresh != 0)) {
    fail<ConfigError>("--baseline and --refresh go with --protocol");
  }
  LoadedRun run = load_run(arguments.run);
  if (has_protocol) {
    eval_protocol(arguments, run);
    return;
  }
  const Evaluation result = evaluate(run, arguments.batches.value_or(run.config.eval.batches));
  if (!run.config.model.is_language_model()) {
    arguments.json ? print_samples_json(run, result) : print_samples(run, result);
  } else if (arguments.json) {
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
  command->add_option("--protocol", arguments->protocol.parts,
                      "scores instead, also to RUN_DIR/protocol.json: all, or some of "
                      "tf,last,ar,pos,flip,gap");
  command->add_option(
      "--refresh", arguments->protocol.refresh,
      "of ar and gap: tokens between new states (default: a sixteenth of a window)");
  command->add_option("--baseline", arguments->baseline,
                      "of the protocol: a run to score on the same tokens");
  command->callback([arguments] { eval(*arguments); });
}

}  // namespace ghost
