#include "data/data_config.h"

#include <filesystem>

#include "data/tokenizer_file.h"
#include "engine/config/check_range.h"
#include "engine/core/error.h"

namespace ghost {
namespace {

TokenDataset open_data(const DataConfig& config, std::string_view key, const std::string& pattern,
                       std::int64_t vocab_size) {
  if (pattern.empty()) {
    fail<ConfigError>("data.{} is empty; expected token files below data.root", key);
  }
  return TokenDataset(match_files(config.root, pattern),
                      {.format = config.format, .vocab_size = vocab_size});
}

}  // namespace

void DataConfig::validate(const std::string& prefix) const {
  check_range(skip_windows >= 0, prefix + "skip_windows", skip_windows,
              "zero or a positive integer");
}

TokenDataset open_train_data(const DataConfig& config, std::int64_t vocab_size) {
  return open_data(config, "train", config.train, vocab_size);
}

TokenDataset open_val_data(const DataConfig& config, std::int64_t vocab_size) {
  return open_data(config, "val", config.val, vocab_size);
}

std::unique_ptr<Tokenizer> open_tokenizer(const DataConfig& config) {
  const std::filesystem::path root = config.root;
  if (!config.tokenizer.empty()) {
    return load_tokenizer(root / config.tokenizer);
  }
  if (config.train.empty()) {
    return nullptr;
  }
  const auto side_file = match_files(root, config.train).front().parent_path() / "tokenizer.json";
  return std::filesystem::exists(side_file) ? load_tokenizer(side_file) : nullptr;
}

}  // namespace ghost
