#include <optional>

#include "tools/console/quantity.h"
#include "tools/run/data_feed.h"
#include "tools/run/run_config.h"

namespace ghost {
namespace {

class TokenFeed final : public DataFeed {
 public:
  TokenFeed(const Config& config, const TokenDataset& train, const TokenDataset* val)
      : train_(train),
        val_(val),
        batch_size_(config.train.batch_size),
        train_batches_(train, config.data.sampler, shape_of(config),
                       static_cast<std::uint64_t>(config.train.seed), config.data.skip_windows) {
    if (val != nullptr) {
      val_batches_.emplace(*val, config.data.eval_windows, shape_of(config), config.eval.batches);
    }
  }

  std::string describe() const override {
    return fmt::format("{} training tokens, {} validation tokens",
                       format_count(train_.num_tokens()),
                       format_count(val_ == nullptr ? 0 : val_->num_tokens()));
  }
  std::int64_t samples_per_epoch() const override { return train_batches_.windows_per_epoch(); }
  void fill(const BatchPosition& position, const HostElements& inputs,
            const HostElements& targets) const override {
    train_batches_.fill(position, inputs, targets);
  }
  std::int64_t num_eval_batches() const override {
    return val_batches_.has_value() ? val_batches_->num_batches() : 0;
  }
  std::int64_t eval_rows(std::int64_t /*batch*/) const override { return batch_size_; }
  void fill_eval(std::int64_t evaluation, std::int64_t batch, const HostElements& inputs,
                 const HostElements& targets) const override {
    val_batches_->fill(evaluation, batch, inputs, targets);
  }

 private:
  static BatchShape shape_of(const Config& config) {
    return {.batch_size = config.train.batch_size, .seq_len = config.train.seq_len};
  }

  const TokenDataset& train_;
  const TokenDataset* val_;
  std::int64_t batch_size_;
  BatchSource train_batches_;
  std::optional<EvalBatches> val_batches_;
};

}  // namespace

std::unique_ptr<DataFeed> make_token_feed(const Config& config, const TokenDataset& train,
                                          const TokenDataset* val) {
  return std::make_unique<TokenFeed>(config, train, val);
}

}  // namespace ghost
