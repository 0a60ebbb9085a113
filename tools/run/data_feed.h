#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/batch_source.h"
#include "models/model_config.h"
#include "tools/run/batch.h"

namespace ghost {

struct Config;

/// The batches of a run, whatever its model reads: pure functions of the position in the run.
class DataFeed {
 public:
  virtual ~DataFeed() = default;

  /// "1,003,854 training tokens, 111,540 validation tokens"
  virtual std::string describe() const = 0;

  /// Samples (sequences, images) of one pass over the training data; 0 where there is no such
  /// thing.
  virtual std::int64_t samples_per_epoch() const = 0;
  virtual void fill(const BatchPosition& position, const HostElements& inputs,
                    const HostElements& targets) const = 0;

  /// 0 without a validation split.
  virtual std::int64_t num_eval_batches() const = 0;
  /// Rows of a batch that are filled: the first ones.
  virtual std::int64_t eval_rows(std::int64_t batch) const = 0;
  virtual void fill_eval(std::int64_t evaluation, std::int64_t batch, const HostElements& inputs,
                         const HostElements& targets) const = 0;
};

enum class Splits { kAll, kVal };

/// Labelled images. Throws ghost::ConfigError and ghost::Error as open_images.
std::unique_ptr<DataFeed> make_image_feed(const Config& config, Splits splits);

/// Points of Poisson's equation, and a grid for evaluations.
std::unique_ptr<DataFeed> make_point_feed(const Config& config);

/// Token windows of sets that must outlive the feed; `val` may be null.
std::unique_ptr<DataFeed> make_token_feed(const Config& config, const TokenDataset& train,
                                          const TokenDataset* val);

}  // namespace ghost
