#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "data/dataset.h"
#include "data/sampler.h"

namespace ghost {

/// Sizes of one micro-batch: inputs and targets are [B, T].
struct BatchShape {
  std::int64_t batch_size = 0;  // B
  std::int64_t seq_len = 0;     // T
};

/// One micro-batch of one replica. The sequences of a step are numbered micro-step first, then
/// rank, then row, so that a run continues with the same data on another number of replicas as long
/// as micro_steps * world_size * batch_size stays what it was.
struct BatchPosition {
  std::int64_t step = 0;
  std::int64_t micro_step = 0;   // 0 .. micro_steps - 1
  std::int64_t micro_steps = 1;  // micro-steps of one optimizer step
  std::int64_t rank = 0;         // 0 .. world_size - 1
  std::int64_t world_size = 1;   // data replicas

  /// Number of the batch among those of all steps, micro-steps and replicas.
  std::int64_t number() const { return (step * micro_steps + micro_step) * world_size + rank; }
};

/// Training batches: a pure function of seed and position. `targets` is `inputs` one token later.
class BatchSource {
 public:
  /// The run's first sequence is number `skip_windows` of the sampler. `dataset` must outlive the
  /// source. Throws ghost::Error when it is shorter than seq_len + 1.
  BatchSource(const TokenDataset& dataset, SamplerKind sampler, BatchShape shape,
              std::uint64_t seed, std::int64_t skip_windows = 0);

  /// Fills B * T inputs and targets, row-major.
  void fill(const BatchPosition& position, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const;

  /// Windows in one pass over the data.
  std::int64_t windows_per_epoch() const { return sampler_->windows_per_epoch(); }

 private:
  const TokenDataset& dataset_;
  BatchShape shape_;
  std::int64_t skip_windows_;
  std::unique_ptr<WindowSampler> sampler_;
};

enum class EvalWindows {
  kFixed,   // non-overlapping windows from the start of the set on
  kRandom,  // random starts with a fixed seed, as nanoGPT's estimate_loss
  kStream,  // windows of SamplerKind::kStream, each evaluation going on where the last one ended
};

/// Number, from 0, of the evaluation after step `step` (counted from 1) when there is one every
/// `every` steps and one after the last step; `every` 0: only that one.
std::int64_t evaluation_at(std::int64_t step, std::int64_t every);

/// Evaluation batches: a pure function of the number of the evaluation, and but for
/// EvalWindows::kStream the same ones each time.
class EvalBatches {
 public:
  /// At most `max_batches` batches (0: all whole batches of the set). Throws ghost::Error when the
  /// set does not hold one. `dataset` must outlive the object.
  EvalBatches(const TokenDataset& dataset, EvalWindows windows, BatchShape shape,
              std::int64_t max_batches, std::uint64_t seed = 0);

  std::int64_t num_batches() const { return num_batches_; }

  /// Fills batch 0 .. num_batches() - 1 of evaluation 0, 1, ...
  void fill(std::int64_t evaluation, std::int64_t batch, std::span<std::int32_t> inputs,
            std::span<std::int32_t> targets) const;

 private:
  EvalWindows windows_;
  BatchSource source_;
  std::int64_t num_batches_;
};

}  // namespace ghost
