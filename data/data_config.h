#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/batch_source.h"
#include "data/dataset.h"
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

/// Token data of a run: section `data`.
struct DataConfig {
  std::string root = "datasets";
  std::string train;
  std::string val;
  ShardFormat format = ShardFormat::kAuto;
  std::string tokenizer;
  SamplerKind sampler = SamplerKind::kRandom;
  std::int64_t skip_windows = 0;
  EvalWindows eval_windows = EvalWindows::kFixed;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("root", root, "directory that the other paths are below");
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
  void validate(const std::string& prefix) const;
};

/// Training data; tokens >= vocab_size are refused (0: any token is taken). Throws
/// ghost::ConfigError when `data.train` is empty, else as match_files and TokenDataset.
TokenDataset open_train_data(const DataConfig& config, std::int64_t vocab_size);

/// Validation data, likewise of `data.val`.
TokenDataset open_val_data(const DataConfig& config, std::int64_t vocab_size);

/// The tokenizer of the data; null when none is configured and none lies beside the training files.
std::unique_ptr<Tokenizer> open_tokenizer(const DataConfig& config);

}  // namespace ghost
