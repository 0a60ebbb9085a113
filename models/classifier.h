#pragma once

#include "models/model.h"

namespace ghost {

/// A model that gives logits of a few classes for each sample. Its loss is the mean cross-entropy
/// in nats, its score the share of samples whose largest logit is that of the target.
class Classifier : public Model {
 public:
  /// `sample`: shape of one input.
  Classifier(const Shape& sample, std::int64_t classes) : sample_(sample), classes_(classes) {}

  /// [B, ...] to [B, classes].
  virtual Tensor logits(Context& ctx, const Tensor& inputs) = 0;

  ParameterStore& parameters() override { return parameters_; }
  Tensor loss(Context& ctx, const Tensor& inputs, const Tensor& targets) override;
  BatchScore score_batch(Context& ctx, const Tensor& inputs, const Tensor& targets) override;

  /// Inputs [B, sample], targets [B].
  BatchLayout batch_layout(std::int64_t batch_size, std::int64_t seq_len,
                           DType activations) const override;
  std::int64_t index_bound() const override { return classes_; }
  std::string_view score_name() const override { return "accuracy"; }
  std::string_view item_name() const override { return "sample"; }

  const Shape& sample() const { return sample_; }
  std::int64_t classes() const { return classes_; }

 protected:
  ParameterStore parameters_;

 private:
  Shape sample_;
  std::int64_t classes_;
};

}  // namespace ghost
