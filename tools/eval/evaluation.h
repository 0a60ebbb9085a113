#pragma once

#include <cstdint>
#include <optional>

#include "data/dataset.h"
#include "tools/run/loaded_run.h"

namespace ghost {

/// What a model makes of a validation split.
struct Evaluation {
  std::int64_t batches = 0;
  std::int64_t tokens = 0;                // targets, all batches together; of images: samples
  double val_loss = 0;                    // mean over them, nats
  std::optional<double> score;            // of a model that has one
  std::optional<std::int64_t> num_bytes;  // of the targets' text; unknown without a tokenizer

  double perplexity() const;
  double bits_per_token() const;
  /// Everything the targets cost, by the bytes of their text. End-of-text marks cost and have none.
  std::optional<double> bits_per_byte() const;
};

/// data.val of the run. Throws ghost::ConfigError when it cannot be read or was made with another
/// tokenizer.
TokenDataset open_split(const LoadedRun& run);

/// Evaluates `run` on data.val in batches of the run's shape, as training does after the run's
/// step: the same windows, the same order of sums. `max_batches`: 0 for the whole split. Throws as
/// open_split, and ghost::Error when the loss is not finite.
Evaluation evaluate(LoadedRun& run, std::int64_t max_batches);

}  // namespace ghost
