#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/io/weights.h"

namespace ghost {

/// Where a run stands, besides its tensors. Sampler and random draws are functions of seed and
/// step, so nothing else is needed to go on bit by bit.
struct TrainerState {
  std::string architecture;
  std::int64_t step = 0;           // optimizer steps done
  std::int64_t tokens = 0;         // tokens trained on
  std::int64_t metrics_bytes = 0;  // length of metrics.jsonl at this step
  std::optional<double> val_loss;  // of the evaluation at this step, if there was one
  std::optional<double> best_val_loss;
};

/// The checkpoints of one run: DIRECTORY/step-000120/{model.safetensors, optimizer.safetensors,
/// trainer.json}. trainer.json holds sizes and SHA-256 of the other two. A checkpoint is written
/// under a temporary name, synced and renamed, so that one that has its name is complete.
class CheckpointDirectory {
 public:
  explicit CheckpointDirectory(std::filesystem::path directory);

  /// Throws ghost::Error (full disk, no permission) and leaves earlier checkpoints as they were.
  std::filesystem::path save(const TrainerState& state, std::span<const NamedTensor> model,
                             std::span<const NamedTensor> optimizer) const;

  /// Complete checkpoints, oldest first.
  std::vector<std::filesystem::path> list() const;
  std::optional<std::filesystem::path> newest() const;
  /// The one with the lowest val_loss.
  std::optional<std::filesystem::path> best() const;

  /// Deletes all but the newest `keep_last` and, if `keep_best`, the best; and what killed runs
  /// left half written.
  void prune(std::int64_t keep_last, bool keep_best) const;

 private:
  std::filesystem::path directory_;
};

/// trainer.json of a checkpoint. Throws ghost::Error naming the file when it is not one.
TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

/// Fills the model's tensors, after checking sizes and digests. Throws ghost::Error naming file and
/// tensor for damage, another architecture, or other shapes.
TrainerState load_model(const std::filesystem::path& checkpoint, std::string_view architecture,
                        std::span<const NamedTensor> model);
/// Names and shapes of the tensors that are stored as the optimizer's state.
std::vector<std::pair<std::string, Shape>> optimizer_tensors(
    const std::filesystem::path& checkpoint);
/// The same for the optimizer's state.
void load_optimizer(const std::filesystem::path& checkpoint,
                    std::span<const NamedTensor> optimizer);

}  // namespace ghost
