#pragma once

#include <cstdint>
#include <future>
#include <span>
#include <vector>

#include "engine/io/checkpoint.h"
#include "models/rank_grid.h"
#include "tools/run/run_config.h"
#include "tools/train/tensor_snapshot.h"

namespace ghost {

/// Writes the checkpoints of a run, one at a time, and deletes those that are no longer wanted. In
/// the background a thread does so from copies of the tensors, and training goes on meanwhile. What
/// fails there is thrown where the next one begins or somebody waits.
///
/// Of ranks that share a model's regions each writes its own part and so has to see the directory;
/// the checkpoint gets its name in the first `finish` of all of them. Ranks of other replicas write
/// nothing. `save` and `finish` are collective over those that do.
class CheckpointWriter {
 public:
  /// `grid` must outlive it.
  CheckpointWriter(CheckpointDirectory directory, const CheckpointConfig& config, RankGrid& grid);
  /// Waits for the thread; what has failed is lost.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  enum class When { kNow, kInBackground };
  /// Waits for the one before. `model` and `optimizer` are this rank's, undefined where another has
  /// them; they may change once this returns.
  void save(const TrainerState& state, std::vector<NamedTensor> model,
            std::vector<NamedTensor> optimizer, When when);

  /// Whether this rank has nothing more to write of a checkpoint that is not finished: when as many
  /// ranks as there are writers say so, nobody waits in `finish`.
  bool is_written() const;
  int num_writers() const { return grid_.num_region_ranks(); }
  /// Waits for what has begun. Throws ghost::Error where it has failed.
  void finish();

  /// Of the copies.
  std::int64_t snapshot_bytes() const { return model_copy_.bytes() + optimizer_copy_.bytes(); }

 private:
  bool is_shared() const { return num_writers() > 1; }
  std::vector<CheckpointFile> write() const;
  void prune() const;

  CheckpointDirectory directory_;
  CheckpointConfig config_;
  RankGrid& grid_;
  TensorSnapshot model_copy_;
  TensorSnapshot optimizer_copy_;
  // What the thread reads; nobody else touches it while `pending_` is valid.
  TrainerState state_;
  std::span<const NamedTensor> model_;
  std::span<const NamedTensor> optimizer_;
  std::future<std::vector<CheckpointFile>> pending_;  // last: waits for the thread first
};

}  // namespace ghost
