#include "tools/sample/command.h"

#include <iostream>
#include <memory>

#include "engine/config/check_range.h"
#include "engine/io/file.h"
#include "models/sampling.h"
#include "tools/run/loaded_run.h"

namespace ghost {
namespace {

struct SampleArguments {
  LoadOptions run;
  std::string prompt;
  std::filesystem::path prompt_file;
  std::int64_t num_tokens = 256;
  SamplingOptions sampling{.temperature = 0.8, .top_k = 200};
  std::int64_t seed = 1337;
  std::int64_t num_samples = 1;

  void validate() const {
    sampling.validate("sample: ");
    check_range(num_tokens > 0, "--tokens", num_tokens, "a positive integer");
    check_range(num_samples > 0, "--num", num_samples, "a positive integer");
    check_range(seed >= 0, "--seed", seed, "zero or a positive integer");
  }
};

/// What an empty prompt stands for: the mark that begins a document, or else a new line.
std::vector<std::int32_t> first_token(const Tokenizer& tokenizer) {
  if (const auto mark = tokenizer.end_of_text()) {
    return {*mark};
  }
  return tokenizer.encode("\n");
}

std::vector<std::int32_t> encode_prompt(const std::string& prompt, const Tokenizer& tokenizer) {
  try {
    return prompt.empty() ? first_token(tokenizer) : tokenizer.encode(prompt);
  } catch (const Error& failure) {
    fail<ConfigError>(
        "{}: {}",
        prompt.empty() ? "the prompt is empty, which stands for a new line" : "the prompt",
        failure.what());
  }
}

void sample(const SampleArguments& arguments) {
  arguments.validate();
  const std::string prompt =
      arguments.prompt_file.empty() ? arguments.prompt : read_file(arguments.prompt_file);
  LoadedRun run = load_run(arguments.run);
  LanguageModel& model = run.language_model();
  if (run.tokenizer == nullptr) {
    fail<ConfigError>("{}: no tokenizer in the run; pass GPT-2's files by --bpe DIR", run.name);
  }
  const std::vector<std::int32_t> tokens = encode_prompt(prompt, *run.tokenizer);
  for (std::int64_t i = 0; i < arguments.num_samples; ++i) {
    if (i > 0) {
      std::cout << "---------------\n";
    }
    std::cout << prompt << std::flush;
    generate(*run.ctx, model, tokens,
             {.max_tokens = arguments.num_tokens,
              .sampling = arguments.sampling,
              .seed = static_cast<std::uint64_t>(arguments.seed),
              .sequence = i,
              .vocab_size = run.tokenizer->vocab_size()},
             [&](std::int32_t token) {
               std::cout << run.tokenizer->decode(std::span(&token, 1)) << std::flush;
             });
    std::cout << "\n" << std::flush;
  }
}

}  // namespace

void register_sample(CLI::App& app) {
  const auto arguments = std::make_shared<SampleArguments>();
  CLI::App* command = app.add_subcommand("sample", "write text with a trained model");
  arguments->run.add_to(*command);
  CLI::Option* prompt = command->add_option(
      "--prompt", arguments->prompt, "text to continue; empty: the start of a document, or a line");
  command->add_option("--prompt-file", arguments->prompt_file, "file with the text to continue")
      ->excludes(prompt);
  command->add_option("--tokens", arguments->num_tokens, "tokens to write (default 256)");
  command->add_option("--temperature", arguments->sampling.temperature,
                      "0: the most likely token (default 0.8)");
  command->add_option("--top-k", arguments->sampling.top_k,
                      "draw from the k most likely tokens; 0: from all (default 200)");
  command->add_option("--top-p", arguments->sampling.top_p,
                      "draw from the most likely tokens with this share (default 1: all)");
  command->add_option("--seed", arguments->seed, "of the draws (default 1337)");
  command->add_option("--num", arguments->num_samples, "texts to write (default 1)");
  command->callback([arguments] { sample(*arguments); });
}

}  // namespace ghost
