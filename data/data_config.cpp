#include "data/data_config.h"

#include <algorithm>
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

void DataConfig::set_kind(DataKind kind_of_data) {
  kind = kind_of_data;
  sampler = kind == DataKind::kImages ? SamplerKind::kShuffled : SamplerKind::kRandom;
}

void DataConfig::validate(const std::string& prefix) const {
  if (kind == DataKind::kImages) {
    check_range(sampler == SamplerKind::kShuffled || sampler == SamplerKind::kSequential,
                prefix + "sampler", sampler, "shuffled or sequential for images");
    const bool is_positive = std::all_of(std.begin(), std.end(), [](double x) { return x > 0; });
    check_range(is_positive, prefix + "std", fmt::format("[{}]", fmt::join(std, ", ")),
                "positive numbers");
    const bool is_shape =
        shape.empty() || (shape.size() == 3 && *std::min_element(shape.begin(), shape.end()) > 0);
    check_range(is_shape, prefix + "shape", fmt::format("[{}]", fmt::join(shape, ", ")),
                "three positive integers");
  }
  check_range(boundary_points >= 0, prefix + "boundary_points", boundary_points,
              "zero or a positive integer");
  check_range(resample_every >= 0, prefix + "resample_every", resample_every,
              "zero or a positive integer");
  check_range(eval_grid >= 2, prefix + "eval_grid", eval_grid, "an integer >= 2");
  check_range(skip_windows >= 0, prefix + "skip_windows", skip_windows,
              "zero or a positive integer");
}

TokenDataset open_train_data(const DataConfig& config, std::int64_t vocab_size) {
  return open_data(config, "train", config.train, vocab_size);
}

TokenDataset open_val_data(const DataConfig& config, std::int64_t vocab_size) {
  return open_data(config, "val", config.val, vocab_size);
}

std::array<std::int64_t, 3> image_shape(const DataConfig& config) {
  if (config.shape.empty()) {
    return image_sizes(image_files(config, "train", config.train).front());
  }
  return {config.shape[0], config.shape[1], config.shape[2]};
}

std::vector<std::filesystem::path> image_files(const DataConfig& config, std::string_view key,
                                               const std::string& pattern) {
  if (pattern.empty()) {
    fail<ConfigError>("data.{} is empty; expected files of images below data.root", key);
  }
  const bool is_packed =
      !std::filesystem::exists(std::filesystem::path(config.root) / pattern) &&
      std::filesystem::exists(std::filesystem::path(config.root) / (pattern + ".gz"));
  return match_files(config.root, is_packed ? pattern + ".gz" : pattern);
}

ImageSet open_images(const DataConfig& config, std::string_view key, const std::string& pattern) {
  ImageSet set(image_files(config, key, pattern), config.mean, config.std);
  const auto [channels, height, width] = image_shape(config);
  const Images& found = set.images();
  if (found.channels != channels || found.height != height || found.width != width) {
    fail<ConfigError>("data.{}: {} has images of {} x {} x {}; expected {} x {} x {}", key,
                      set.name(), found.channels, found.height, found.width, channels, height,
                      width);
  }
  return set;
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
