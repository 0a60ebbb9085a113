#include "engine/io/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <functional>

#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/io/sha256.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kModel = "model";
constexpr std::string_view kOptimizer = "optimizer";
constexpr std::string_view kStateFile = "trainer.json";
constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kTemporaryPrefix = ".step-";
constexpr int kFormat = 2;

std::string step_name(std::int64_t step) { return fmt::format("{}{:06}", kPrefix, step); }

std::string temporary_name(std::int64_t step) { return fmt::format(".{}.tmp", step_name(step)); }

/// "model.safetensors", or of several parts "model-00001-of-00004.safetensors".
std::string file_name(std::string_view kind, const CheckpointPart& part) {
  return part.count == 1
             ? fmt::format("{}.safetensors", kind)
             : fmt::format("{}-{:05}-of-{:05}.safetensors", kind, part.index + 1, part.count);
}

/// Deletes what was written of a checkpoint when `write` fails.
void cleaning_up(const fs::path& temporary, const std::function<void()>& write) {
  std::error_code error;
  try {
    write();
  } catch (const fs::filesystem_error& failure) {
    fs::remove_all(temporary, error);
    fail("{}: cannot write the checkpoint: {}", temporary.string(), failure.code().message());
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
}

json optional_number(const std::optional<double>& value) {
  return value.has_value() ? json(*value) : json(nullptr);
}

json read_state_file(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kStateFile;
  const std::string text = read_file(path);
  json state = json::parse(text, nullptr, /*allow_exceptions=*/false);
  GHOST_CHECK(state.is_object() && state.value("format", 0) == kFormat,
              "{}: not the trainer.json of a checkpoint; expected an object of format {}",
              path.string(), kFormat);
  return state;
}

/// Sizes first, then digests: a cut file is found at once.
void verify_file(const fs::path& path, const json& facts) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  GHOST_CHECK(!error, "{}: {}", path.string(), error.message());
  GHOST_CHECK(size == facts.at("bytes").get<std::uintmax_t>(),
              "{}: {} bytes; expected {} as trainer.json says", path.string(), size,
              facts.at("bytes").get<std::uintmax_t>());
  const std::string digest = sha256_file(path);
  GHOST_CHECK(digest == facts.at("sha256").get<std::string>(),
              "{}: damaged, its SHA-256 is {}; expected {} as trainer.json says", path.string(),
              digest, facts.at("sha256").get<std::string>());
}

/// All files of a kind, in one part or several, checked and opened.
std::vector<SafetensorsFile> open_files(const fs::path& checkpoint, std::string_view kind) {
  const json state = read_state_file(checkpoint);
  std::vector<SafetensorsFile> files;
  try {
    for (const auto& [name, facts] : state.at("files").items()) {
      if (name.starts_with(kind)) {
        verify_file(checkpoint / name, facts);
        files.emplace_back(checkpoint / name);
      }
    }
  } catch (const json::exception&) {
    files.clear();
  }
  GHOST_CHECK(!files.empty(), "{}: no size and SHA-256 of the {}'s files",
              (checkpoint / kStateFile).string(), kind);
  return files;
}

std::optional<std::int64_t> step_of(const fs::path& path) {
  const std::string name = path.filename().string();
  std::int64_t step = 0;
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  const auto [end, error] =
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc{} || end != name.data() + name.size()) {
    return std::nullopt;
  }
  return step;
}

}  // namespace

CheckpointDirectory::CheckpointDirectory(fs::path directory) : directory_(std::move(directory)) {}

fs::path CheckpointDirectory::save(const TrainerState& state, std::span<const NamedTensor> model,
                                   std::span<const NamedTensor> optimizer) const {
  begin(state.step);
  return commit(state, write_part(state, {}, model, optimizer));
}

void CheckpointDirectory::begin(std::int64_t step) const {
  const fs::path temporary = directory_ / temporary_name(step);
  std::error_code error;
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  GHOST_CHECK(!error, "{}: cannot create the directory: {}", temporary.string(), error.message());
}

std::vector<CheckpointFile> CheckpointDirectory::write_part(
    const TrainerState& state, const CheckpointPart& part, std::span<const NamedTensor> model,
    std::span<const NamedTensor> optimizer) const {
  const fs::path temporary = directory_ / temporary_name(state.step);
  std::vector<CheckpointFile> files;
  const auto write = [&](std::string_view kind, std::span<const NamedTensor> tensors,
                         const SafetensorsMetadata& metadata) {
    CheckpointFile file{.name = file_name(kind, part)};
    file.sha256 = write_tensors(temporary / file.name, tensors, metadata);
    file.bytes = fs::file_size(temporary / file.name);
    files.push_back(std::move(file));
  };
  cleaning_up(temporary, [&] {
    write(kModel, model, {{"architecture", state.architecture}});
    write(kOptimizer, optimizer, {});
  });
  return files;
}

fs::path CheckpointDirectory::commit(const TrainerState& state,
                                     std::span<const CheckpointFile> files) const {
  const fs::path temporary = directory_ / temporary_name(state.step);
  const fs::path final_path = directory_ / step_name(state.step);
  json file_facts = json::object();
  for (const CheckpointFile& file : files) {
    file_facts[file.name] = {{"bytes", file.bytes}, {"sha256", file.sha256}};
  }
  const json facts = {{"format", kFormat},
                      {"architecture", state.architecture},
                      {"step", state.step},
                      {"tokens", state.tokens},
                      {"metrics_bytes", state.metrics_bytes},
                      {"val_loss", optional_number(state.val_loss)},
                      {"best_val_loss", optional_number(state.best_val_loss)},
                      {"files", file_facts}};
  cleaning_up(temporary, [&] {
    write_file_atomically(temporary / kStateFile, facts.dump(2) + "\n");
    // A checkpoint of the same step is replaced: it holds the same state.
    fs::remove_all(final_path);
    fs::rename(temporary, final_path);
    sync_directory(directory_);
  });
  return final_path;
}

std::vector<fs::path> CheckpointDirectory::list() const {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    const auto step = step_of(entry.path());
    if (step.has_value() && fs::exists(entry.path() / kStateFile)) {
      found.emplace_back(*step, entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) {
    paths.push_back(std::move(path));
  }
  return paths;
}

std::optional<fs::path> CheckpointDirectory::newest() const {
  auto paths = list();
  return paths.empty() ? std::nullopt : std::optional(std::move(paths.back()));
}

std::optional<fs::path> CheckpointDirectory::best() const {
  std::optional<fs::path> best;
  double lowest = 0;
  for (const fs::path& path : list()) {
    const TrainerState state = read_trainer_state(path);
    if (state.val_loss.has_value() && (!best.has_value() || *state.val_loss < lowest)) {
      best = path;
      lowest = *state.val_loss;
    }
  }
  return best;
}

void CheckpointDirectory::prune(std::int64_t keep_last, bool keep_best) const {
  const auto paths = list();
  const auto best_path = keep_best ? best() : std::nullopt;
  std::error_code error;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const bool is_recent = static_cast<std::int64_t>(paths.size() - i) <= keep_last;
    if (!is_recent && paths[i] != best_path) {
      fs::remove_all(paths[i], error);
    }
  }
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    if (entry.path().filename().string().starts_with(kTemporaryPrefix)) {
      fs::remove_all(entry.path(), error);
    }
  }
}

TrainerState read_trainer_state(const fs::path& checkpoint) {
  const json facts = read_state_file(checkpoint);
  const auto number = [&](const char* key) {
    return facts.at(key).is_null() ? std::nullopt : std::optional(facts.at(key).get<double>());
  };
  try {
    return {.architecture = facts.at("architecture").get<std::string>(),
            .step = facts.at("step").get<std::int64_t>(),
            .tokens = facts.at("tokens").get<std::int64_t>(),
            .metrics_bytes = facts.at("metrics_bytes").get<std::int64_t>(),
            .val_loss = number("val_loss"),
            .best_val_loss = number("best_val_loss")};
  } catch (const json::exception& failure) {
    fail("{}: {}", (checkpoint / kStateFile).string(), failure.what());
  }
}

TrainerState load_model(const fs::path& checkpoint, std::string_view architecture,
                        std::span<const NamedTensor> model) {
  TrainerState state = read_trainer_state(checkpoint);
  GHOST_CHECK(state.architecture == architecture, "{}: a checkpoint of {}; expected {}",
              checkpoint.string(), state.architecture, architecture);
  read_tensors(open_files(checkpoint, kModel), model);
  return state;
}

void load_optimizer(
    const fs::path& checkpoint,
    const std::function<std::vector<NamedTensor>(std::span<const StoredTensor>)>& places) {
  const std::vector<SafetensorsFile> files = open_files(checkpoint, kOptimizer);
  std::vector<StoredTensor> stored;
  for (const SafetensorsFile& file : files) {
    for (const TensorView& tensor : file.tensors()) {
      stored.push_back({.name = tensor.name, .shape = Shape(tensor.shape)});
    }
  }
  read_tensors(files, places(stored));
}

}  // namespace ghost
