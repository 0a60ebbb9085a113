#include "models/classifier.h"

#include <algorithm>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/module.h"
#include "ops/cross_entropy.h"

namespace ghost {
namespace {

/// Rows whose largest logit, the first of equal ones, is that of the target.
double count_hits(const Tensor& logits, const Tensor& targets) {
  const std::int64_t classes = logits.dim(-1);
  std::int64_t hits = 0;
  visit_real(logits.dtype(), [&]<typename T>() {
    const T* row = logits.data<T>();
    for (const std::int32_t target : targets.span<std::int32_t>()) {
      hits += std::max_element(row, row + classes) - row == target;
      row += classes;
    }
  });
  return static_cast<double>(hits);
}

}  // namespace

Tensor Classifier::loss(Context& ctx, const Tensor& inputs, const Tensor& targets) {
  const Tensor scores = logits(ctx, inputs);
  return in_module(ctx, "loss", [&] { return cross_entropy(ctx, scores, targets); });
}

BatchScore Classifier::score_batch(Context& ctx, const Tensor& inputs, const Tensor& targets) {
  const Tensor scores = logits(ctx, inputs);
  const auto rows = static_cast<double>(targets.numel());
  return {.loss = item(cross_entropy(ctx, scores, targets)),
          .rows = rows,
          .numerator = count_hits(on_host(scores), on_host(targets)),
          .denominator = rows};
}

BatchLayout Classifier::batch_layout(std::int64_t batch_size, std::int64_t /*seq_len*/,
                                     DType activations) const {
  return {.inputs = sample_.with_first(batch_size),
          .input_dtype = activations,
          .targets = {batch_size}};
}

}  // namespace ghost
