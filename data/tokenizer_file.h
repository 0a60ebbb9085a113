#pragma once

#include <filesystem>
#include <memory>

#include "data/tokenizer.h"

namespace ghost {

/// Writes `DIR/tokenizer.json`, the side file that says how the token files beside it were made:
/// kind and vocab_size, for characters the vocabulary, for GPT-2 the names and sha256 of its two
/// files, which are copied beside it. Throws ghost::Error when a file cannot be written.
void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& directory);

/// Loads what `save_tokenizer` wrote. `path` is the side file, its directory, or a directory with
/// GPT-2's own files. Throws ghost::Error naming the file and what is wrong with it.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace ghost
