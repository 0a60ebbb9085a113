#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/token_shard.h"
#include "data/tokenizer.h"

namespace ghost {

/// How text is cut into training and validation data.
enum class SplitBy {
  kAuto,        // kCharacters when every input is plain text, else kDocuments
  kCharacters,  // all inputs are one stream; the last val_fraction of its characters validate
  kDocuments,   // whole documents, spread evenly over the set
};

/// Text to token shards.
struct PrepareOptions {
  /// .txt, .jsonl or .ndjson, each also with .gz; every other name only with `all_plain`.
  std::vector<std::filesystem::path> inputs = {};
  bool all_plain = false;  // every input is plain text whatever its name
  std::filesystem::path output = {};
  TokenizerKind tokenizer = TokenizerKind::kGpt2;
  std::filesystem::path bpe_directory = {};  // for kGpt2: vocab.bpe and encoder.json
  double val_fraction = 0.1;                 // 0 (no validation file) to less than 1
  SplitBy split_by = SplitBy::kAuto;
  std::int64_t shard_tokens = 100'000'000;  // of a full shard
  std::string field = "text";               // of JSON lines
  bool force = false;                       // replace an output that is there

  /// Called now and then with the bytes of text encoded so far.
  std::function<void(std::int64_t)> progress = {};
};

struct PrepareResult {
  std::filesystem::path output = {};
  std::int64_t documents = 0;   // 1 for a stream
  std::int64_t characters = 0;  // Unicode code points of all text
  std::int32_t vocab_size = 0;
  std::int64_t train_tokens = 0;
  std::int64_t val_tokens = 0;
};

/// Writes `OUTPUT/train_000000.bin ...`, `val_000000.bin ...`, `tokenizer.json` and `info.json`
/// (counts, options, sources and files with sha256). The directory appears complete or not at all.
///
/// A stream is encoded as it stands, without end-of-text tokens. Of documents, each is encoded on
/// its own: with GPT-2 the end-of-text token stands before it, with bytes and characters a newline
/// between two.
///
/// Throws ghost::Error when an input cannot be read or is empty, when a split leaves one side
/// without text, and when the output is there (unless `force`, which replaces only prepared sets).
PrepareResult prepare_text(const PrepareOptions& options);

/// A prepared set by name, below `root`:
///   tinyshakespeare  ROOT/tinyshakespeare_char from the text file `from` (default: where
///                    `ghostgrad data fetch tinyshakespeare` puts it), characters, 10 % validation
///   source           ROOT/source_bytes from the text files of the source tree `from`, bytes, 10 %
///                    of the files validation
/// Throws ghost::Error on an unknown name and when `from` is missing, else as prepare_text.
PrepareResult prepare_named(std::string_view name, const std::filesystem::path& from,
                            const std::filesystem::path& root, bool force = false);

/// The names that `prepare_named` knows.
std::vector<std::string_view> prepared_names();

}  // namespace ghost
