#pragma once

#include <filesystem>
#include <string>

#include "engine/io/checkpoint.h"

namespace ghost {

/// The files of one run: config.yaml, metrics.jsonl, tokenizer/, checkpoints/, report.html,
/// protocol.json.
class RunDirectory {
 public:
  explicit RunDirectory(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.yaml"; }
  std::filesystem::path metrics() const { return root_ / "metrics.jsonl"; }
  std::filesystem::path tokenizer() const { return root_ / "tokenizer"; }
  std::filesystem::path protocol() const { return root_ / "protocol.json"; }
  CheckpointDirectory checkpoints() const { return CheckpointDirectory(root_ / "checkpoints"); }

  /// Whether a run has left anything here.
  bool holds_a_run() const;

  /// Makes the directory. Throws ghost::ConfigError when it holds a run already, unless
  /// `overwrite`, which deletes that run's files and nothing else.
  void create(bool overwrite) const;

 private:
  std::filesystem::path root_;
};

/// A checkpoint that the user names: a run directory (`which`: last or best) or a checkpoint
/// itself. Throws ghost::ConfigError when there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path, std::string_view which);

/// The run directory that a run or checkpoint path belongs to.
RunDirectory run_directory_of(const std::filesystem::path& path);

}  // namespace ghost
