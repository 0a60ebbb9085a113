#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/batch_source.h"
#include "data/dataset.h"
#include "data/image_batches.h"
#include "data/poisson_points.h"
#include "data/sampler.h"
#include "data/token_shard.h"
#include "data/tokenizer.h"
#include "engine/config/enum_names.h"

namespace ghost {

template <>
struct EnumNames<ShardFormat> {
  static constexpr EnumName<ShardFormat> kNames[] = {
      {ShardFormat::kAuto, "auto"},
      {ShardFormat::kLlmc, "llmc"},
      {ShardFormat::kNanogpt, "nanogpt"},
  };
};

template <>
struct EnumNames<SamplerKind> {
  static constexpr EnumName<SamplerKind> kNames[] = {
      {SamplerKind::kRandom, "random"},
      {SamplerKind::kShuffled, "shuffled"},
      {SamplerKind::kSequential, "sequential"},
      {SamplerKind::kStream, "stream"},
  };
};

template <>
struct EnumNames<EvalWindows> {
  static constexpr EnumName<EvalWindows> kNames[] = {
      {EvalWindows::kFixed, "fixed"},
      {EvalWindows::kRandom, "random"},
      {EvalWindows::kStream, "stream"},
  };
};

/// What a model reads.
enum class DataKind { kTokens, kImages, kPoints };

/// Data of a run: section `data`.
struct DataConfig {
  DataKind kind = DataKind::kTokens;  // as the model's type says; the keys hang on it
  std::string root = "datasets";
  std::string train;
  std::string val;
  ShardFormat format = ShardFormat::kAuto;
  std::string tokenizer;
  SamplerKind sampler = SamplerKind::kRandom;
  std::int64_t skip_windows = 0;
  EvalWindows eval_windows = EvalWindows::kFixed;
  std::vector<std::int64_t> shape;  // of images
  std::vector<double> mean;
  std::vector<double> std;
  PoissonProblem problem = PoissonProblem::kSine;  // from here on: of points
  std::int64_t boundary_points = 256;
  std::int64_t resample_every = 0;
  std::int64_t eval_grid = 101;

  template <class Visit>
  void each_field(Visit&& visit) {
    if (kind == DataKind::kPoints) {
      visit("problem", problem, "solution to find: sine, 0 on the border; exponential, not 0");
      visit("boundary_points", boundary_points,
            "a micro-step, besides batch_size inner ones, >= 0");
      visit("resample_every", resample_every, "steps between new points; 0: they stay");
      visit("eval_grid", eval_grid, "nodes a side of the grid of evaluations, >= 2");
      return;
    }
    visit("root", root, "directory that the other paths are below");
    if (kind == DataKind::kImages) {
      visit("train", train,
            "images for training: IDX (labels beside them) or CIFAR-10 files, plain or .gz");
      visit("val", val, "images for evaluation, as train");
      visit("sampler", sampler, "shuffled: each epoch in another order; sequential");
      visit("shape", shape, "channels, height, width; []: as the files say");
      visit("mean", mean, "taken off pixels of 0 to 1: a number a channel, or one; [] is 0");
      visit("std", std, "then divides them, likewise; [] is 1");
      return;
    }
    visit("train", train, "token files for training: a name or a glob, several with commas");
    visit("val", val, "token files for validation, as train");
    visit("format", format, "of the token files; nanogpt is raw uint16 without a header");
    visit("tokenizer", tokenizer,
          "tokenizer.json or a directory with one or with GPT-2's files; empty: beside train");
    visit("sampler", sampler,
          "how training windows are drawn; stream: in order, seq_len + 1 tokens apart");
    visit("skip_windows", skip_windows, "windows passed over at the start of the run, >= 0");
    visit("eval_windows", eval_windows,
          "fixed: from the start of val on; random: fixed seed; stream: each evaluation goes on");
  }
  /// Another kind of data, with the sampler that it has by default.
  void set_kind(DataKind kind_of_data);
  void validate(const std::string& prefix) const;
};

/// Training data; tokens >= vocab_size are refused (0: any token is taken). Throws
/// ghost::ConfigError when `data.train` is empty, else as match_files and TokenDataset.
TokenDataset open_train_data(const DataConfig& config, std::int64_t vocab_size);

/// Validation data, likewise of `data.val`.
TokenDataset open_val_data(const DataConfig& config, std::int64_t vocab_size);

/// Images of a split: `pattern` is that of `data.train` or `data.val`, called `key`; a name without
/// .gz finds the file with it too. Throws ghost::ConfigError when the pattern is empty,
/// ghost::Error when a file is missing or damaged.
std::vector<std::filesystem::path> image_files(const DataConfig& config, std::string_view key,
                                               const std::string& pattern);
/// Channels, height and width: `data.shape`, or what the first file for training has.
std::array<std::int64_t, 3> image_shape(const DataConfig& config);
/// Throws ghost::ConfigError too when the images have another shape.
ImageSet open_images(const DataConfig& config, std::string_view key, const std::string& pattern);

/// The tokenizer of the data; null when none is configured and none lies beside the training files.
std::unique_ptr<Tokenizer> open_tokenizer(const DataConfig& config);

}  // namespace ghost
