#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
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

/// Which of a checkpoint's tensors a process writes: part `index` of `count`.
struct CheckpointPart {
  int index = 0;
  int count = 1;
};

/// What trainer.json says of a file.
struct CheckpointFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// The checkpoints of one run: DIRECTORY/step-000120/{model.safetensors, optimizer.safetensors,
/// trainer.json}. Several processes write parts instead, model-00001-of-00004.safetensors and so
/// on; whoever reads needs not know. trainer.json holds sizes and SHA-256 of all other files. A
/// checkpoint is written under a temporary name, synced and renamed, so that one that has its name
/// is complete. Writing throws ghost::Error (full disk, no permission) and leaves earlier
/// checkpoints as they were.
class CheckpointDirectory {
 public:
  explicit CheckpointDirectory(std::filesystem::path directory);

  /// By one process that has everything.
  std::filesystem::path save(const TrainerState& state, std::span<const NamedTensor> model,
                             std::span<const NamedTensor> optimizer) const;

  // By several: one process does `begin`, then all do `write_part`, then one does `commit` with
  // what all of them returned.

  void begin(std::int64_t step) const;
  /// Tensors that are undefined are in another part.
  std::vector<CheckpointFile> write_part(const TrainerState& state, const CheckpointPart& part,
                                         std::span<const NamedTensor> model,
                                         std::span<const NamedTensor> optimizer) const;
  std::filesystem::path commit(const TrainerState& state,
                               std::span<const CheckpointFile> files) const;

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

/// Fills the model's tensors, after checking sizes and digests. Undefined tensors have to be there
/// and are not read. Throws ghost::Error naming file and tensor for damage, another architecture,
/// or other shapes.
TrainerState load_model(const std::filesystem::path& checkpoint, std::string_view architecture,
                        std::span<const NamedTensor> model);

/// A tensor that is stored as the optimizer's state.
struct StoredTensor {
  std::string name;
  Shape shape;
};

/// The same for the optimizer's state: `places` is told what is stored, and gives what is to be
/// filled, each stored tensor among it.
void load_optimizer(
    const std::filesystem::path& checkpoint,
    const std::function<std::vector<NamedTensor>(std::span<const StoredTensor>)>& places);

}  // namespace ghost
