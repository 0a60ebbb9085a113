#pragma once

#include <cstdint>
#include <string_view>

#include "engine/autograd/context.h"

namespace ghost {

/// Shapes and dtypes of one batch.
struct BatchLayout {
  Shape inputs;
  DType input_dtype = DType::kI32;
  Shape targets;
  DType target_dtype = DType::kI32;
};

/// What a batch of an evaluation adds up to.
struct BatchScore {
  double loss = 0;  // mean over the rows
  double rows = 0;
  /// The model's score over several batches is made of the sums of these two; see Model::score.
  double numerator = 0;
  double denominator = 0;
};

/// Anything that trains: parameters and a loss of inputs and targets. Constructing one declares its
/// parameters and allocates nothing, so that it can be planned on a dry device;
/// parameters().materialize() brings it to life.
class Model {
 public:
  virtual ~Model() = default;

  virtual std::string_view architecture() const = 0;
  virtual ParameterStore& parameters() = 0;
  const ParameterStore& parameters() const { return const_cast<Model*>(this)->parameters(); }

  /// Loss [1] of a batch laid out as `batch_layout` says.
  virtual Tensor loss(Context& ctx, const Tensor& inputs, const Tensor& targets) = 0;

  /// Of `batch_size` samples (sequences of `seq_len` tokens, where samples have tokens); numbers
  /// that are not indices are of `activations`.
  virtual BatchLayout batch_layout(std::int64_t batch_size, std::int64_t seq_len,
                                   DType activations) const = 0;
  /// What indices in inputs and targets are below; 0 where there are none.
  virtual std::int64_t index_bound() const = 0;

  /// Evaluates a batch that may have fewer rows. The loss alone, unless a model has a score.
  virtual BatchScore score_batch(Context& ctx, const Tensor& inputs, const Tensor& targets);
  /// What the score is called in logs ("accuracy"); empty: there is none.
  virtual std::string_view score_name() const { return {}; }
  virtual double score(double numerator, double denominator) const {
    return numerator / denominator;
  }

  /// What throughput counts: "token", "sample".
  virtual std::string_view item_name() const = 0;
  virtual std::int64_t num_layers() const = 0;
  /// Training FLOPs an item: 6 N, N without parameters that are only looked up, and what does not
  /// hang on parameters. Recomputation does not count.
  virtual double flops_per_item(std::int64_t seq_len) const = 0;
  /// How they are counted, for people: "6 N + 12 L C T".
  virtual std::string_view flops_formula() const = 0;
};

}  // namespace ghost
