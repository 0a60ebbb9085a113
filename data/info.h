#pragma once

#include <filesystem>
#include <string>

namespace ghost {

/// Facts about a data file, one a line as `name: value`, by what the file is:
///   token shard (llm.c, nanoGPT by the name .bin)   tokens, width, largest and first tokens
///   .txt, .jsonl, .ndjson (.gz)                      documents, characters, bytes of text
///   IDX images and labels, CIFAR-10 records (.gz)    images, sizes, labels, channel statistics
///   tokenizer.json                                   kind, vocabulary
///   .safetensors                                     tensors, parameters
/// Throws ghost::Error on any other file and on a defect that reading the file shows.
std::string describe_data_file(const std::filesystem::path& path);

}  // namespace ghost
