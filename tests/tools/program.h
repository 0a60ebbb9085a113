#pragma once

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>

#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost::test {

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// What a call of the program left.
struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

/// Runs `ghostgrad ARGUMENTS`, a line for the shell, in the directory `dir`.
inline Outcome run_program(const TemporaryDirectory& dir, const std::string& arguments) {
  const std::string line = "cd '" + dir.path().string() + "' && '" GHOST_BINARY "' " + arguments +
                           " > .stdout 2> .stderr < /dev/null";
  const int status = std::system(line.c_str());
  return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .out = text_of(dir / ".stdout"),
          .err = text_of(dir / ".stderr")};
}

/// Runs it and expects `code`, the one line `error: MESSAGE` and nothing on stdout.
inline void check_refused(const TemporaryDirectory& dir, const std::string& arguments, int code,
                          const std::string& message) {
  INFO("ghostgrad " << arguments);
  const Outcome outcome = run_program(dir, arguments);
  CHECK(outcome.code == code);
  CHECK(outcome.err == "error: " + message + "\n");
  CHECK(outcome.out.empty());
}

/// Prepares a little text, of `lines` lines, as characters: tiny_char/.
inline void prepare_tiny_text(const TemporaryDirectory& dir, int lines = 120) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text += "line " + std::to_string(i * 37 % 101) + " is not a long one\n";
  }
  dir.write("tiny.txt", text);
  REQUIRE(run_program(dir, "data prepare tiny.txt --tokenizer char").code == 0);
}

/// Trains a tiny character model on a little text in `dir`: runs/tiny, with two checkpoints.
inline void train_tiny_run(const TemporaryDirectory& dir, const std::string& options = "") {
  prepare_tiny_text(dir);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {type: gpt, layers: 2, heads: 2, channels: 16, max_seq_len: 16}\n"
            "train: {steps: 6, batch_size: 3, seq_len: 8, threads: 1}\n"
            "eval: {every: 3, batches: 4}\n");
  const Outcome trained = run_program(dir, "train tiny.yaml " + options);
  INFO(trained.err);
  REQUIRE(trained.code == 0);
}

}  // namespace ghost::test
