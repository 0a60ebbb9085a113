#include <optional>

#include "data/image_batches.h"
#include "tools/console/quantity.h"
#include "tools/run/data_feed.h"
#include "tools/run/run_config.h"

namespace ghost {
namespace {

class ImageFeed final : public DataFeed {
 public:
  ImageFeed(const Config& config, Splits splits) {
    const DataConfig& data = config.data;
    if (splits == Splits::kAll) {
      train_.emplace(open_images(data, "train", data.train));
      train_batches_.emplace(*train_, order_of(data), config.train.batch_size,
                             static_cast<std::uint64_t>(config.train.seed));
    }
    if (splits == Splits::kVal || !data.val.empty()) {
      val_.emplace(open_images(data, "val", data.val));
      val_batches_.emplace(*val_, config.train.batch_size, config.eval.batches);
    }
  }

  std::string describe() const override {
    return fmt::format("{} training images, {} validation images",
                       format_count(train_.has_value() ? train_->size() : 0),
                       format_count(val_.has_value() ? val_->size() : 0));
  }
  std::int64_t samples_per_epoch() const override { return train_->size(); }
  void fill(const BatchPosition& position, const HostElements& inputs,
            const HostElements& targets) const override {
    train_batches_->fill(position, inputs, targets);
  }
  std::int64_t num_eval_batches() const override {
    return val_batches_.has_value() ? val_batches_->num_batches() : 0;
  }
  std::int64_t eval_rows(std::int64_t batch) const override { return val_batches_->rows(batch); }
  void fill_eval(std::int64_t /*evaluation*/, std::int64_t batch, const HostElements& inputs,
                 const HostElements& targets) const override {
    val_batches_->fill(batch, inputs, targets);
  }

 private:
  static ImageBatches::Order order_of(const DataConfig& data) {
    return data.sampler == SamplerKind::kSequential ? ImageBatches::Order::kSequential
                                                    : ImageBatches::Order::kShuffled;
  }

  std::optional<ImageSet> train_;
  std::optional<ImageSet> val_;
  std::optional<ImageBatches> train_batches_;
  std::optional<ImageEvalBatches> val_batches_;
};

}  // namespace

std::unique_ptr<DataFeed> make_image_feed(const Config& config, Splits splits) {
  return std::make_unique<ImageFeed>(config, splits);
}

}  // namespace ghost
