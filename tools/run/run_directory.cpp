#include "tools/run/run_directory.h"

namespace ghost {

namespace fs = std::filesystem;

bool RunDirectory::holds_a_run() const {
  return fs::exists(config()) || fs::exists(metrics()) || fs::exists(root_ / "checkpoints");
}

void RunDirectory::create(bool overwrite) const {
  if (holds_a_run()) {
    if (!overwrite) {
      const auto newest = checkpoints().newest();
      fail<ConfigError>(
          "run.dir {} already holds a run{}; pass --resume {} to go on with it, or --overwrite",
          root_.string(), newest ? fmt::format(" ({})", newest->filename().string()) : "",
          root_.string());
    }
    for (const char* name : {"config.yaml", "metrics.jsonl", "tokenizer", "checkpoints",
                             "report.html", "protocol.json"}) {
      fs::remove_all(root_ / name);
    }
  }
  std::error_code error;
  fs::create_directories(root_, error);
  if (error) {
    fail<ConfigError>("run.dir {}: cannot create the directory: {}", root_.string(),
                      error.message());
  }
}

fs::path find_checkpoint(const fs::path& path, std::string_view which) {
  if (fs::exists(path / "trainer.json")) {
    return path;
  }
  if (!fs::is_directory(path)) {
    fail<ConfigError>("{}: no such run directory or checkpoint", path.string());
  }
  if (which != "last" && which != "best") {
    fail<ConfigError>("--checkpoint is \"{}\"; expected last or best", which);
  }
  const CheckpointDirectory checkpoints = RunDirectory(path).checkpoints();
  auto found = which == "best" ? checkpoints.best() : checkpoints.newest();
  if (!found.has_value() && which == "best") {
    found = checkpoints.newest();
  }
  if (!found.has_value()) {
    fail<ConfigError>("{}: no complete checkpoint in this run directory", path.string());
  }
  return *found;
}

RunDirectory run_directory_of(const fs::path& path) {
  if (fs::exists(path / "trainer.json")) {
    return RunDirectory(fs::absolute(path).lexically_normal().parent_path().parent_path());
  }
  return RunDirectory(path);
}

}  // namespace ghost
