#include "models/lbi/position_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

constexpr double kNotScored = std::numeric_limits<double>::quiet_NaN();

/// log(sum(exp(x))) - x[target] of one row, in f64.
template <typename T>
double cross_entropy(const T* row, std::int64_t vocab_size, std::int32_t target) {
  const double largest = to_double(*std::max_element(
      row, row + vocab_size, [](T a, T b) { return to_double(a) < to_double(b); }));
  double sum = 0;
  for (std::int64_t v = 0; v < vocab_size; ++v) {
    sum += std::exp(to_double(row[v]) - largest);
  }
  return largest + std::log(sum) - to_double(row[target]);
}

/// Calls `visit` with the elements of real logits on the host.
template <typename Visit>
void visit_logits(const Tensor& logits, Visit&& visit) {
  if (logits.dtype() == DType::kBF16) {
    visit(logits.data<BFloat16>());
  } else {
    visit_real(logits.dtype(), [&]<typename T>() { visit(logits.data<T>()); });
  }
}

/// Fills positions [begin, begin + N) of losses [B, T] from logits [B, N, V].
void score(const Tensor& logits, std::int64_t vocab_size, const Tensor& targets, std::int64_t begin,
           std::vector<double>& losses) {
  const Tensor read = on_host(logits);
  const Tensor wanted = on_host(targets);
  const std::int64_t count = read.dim(1);
  const std::int64_t padded = read.dim(2);
  const std::int64_t seq_len = wanted.dim(1);
  visit_logits(read, [&](const auto* data) {
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < read.dim(0) * count; ++row) {
      const std::int64_t at = row / count * seq_len + begin + row % count;
      losses[static_cast<std::size_t>(at)] =
          cross_entropy(data + row * padded, vocab_size, wanted.data<std::int32_t>()[at]);
    }
  });
}

std::vector<double> not_scored(const Tensor& tokens) {
  return std::vector<double>(static_cast<std::size_t>(tokens.numel()), kNotScored);
}

}  // namespace

bool sees_future(const RegionsConfig& config) {
  return config.variant == RegionsVariant::kPaper && config.ablation != StateAblation::kZeroAll;
}

std::string_view loss_label(const std::optional<RegionsConfig>& config) {
  return config.has_value() && sees_future(*config) ? "teacher-forced, sees future" : "";
}

std::vector<double> position_losses(Context& ctx, LanguageModel& model, const Tensor& tokens,
                                    const Tensor& targets) {
  std::vector<double> losses = not_scored(tokens);
  score(model.logits(ctx, tokens), model.vocab_size(), targets, 0, losses);
  return losses;
}

// Regions are causal, so tokens behind the scored positions do not matter and every pass reads the
// whole window.
std::vector<double> refreshed_losses(Context& ctx, const LbiModel& model, const Tensor& tokens,
                                     const Tensor& targets, std::int64_t every) {
  std::vector<double> losses = not_scored(tokens);
  const std::int64_t seq_len = tokens.dim(1);
  for (std::int64_t known = every; known <= seq_len; known += every) {
    const Tensor features =
        model.features(ctx, tokens, text_slots(model.config(), seq_len, /*prompt=*/known));
    PositionRanges scored;
    for (std::int64_t t = known - 1; t < std::min(known - 1 + every, seq_len); ++t) {
      scored.push_back({t, t + 1});
    }
    const Tensor picked = mean_over_positions(ctx, features, scored);
    score(model.parts().readout_logits(ctx, picked), model.vocab_size(), targets, known - 1,
          losses);
  }
  return losses;
}

std::vector<double> logit_changes(Context& ctx, LanguageModel& model, const Tensor& tokens,
                                  std::int64_t position) {
  const Tensor changed = ctx.empty(tokens.shape(), DType::kI32, MemoryTag::kBatch);
  const Tensor place = host_place(changed);
  const Tensor from = on_host(tokens);
  const std::int64_t seq_len = tokens.dim(1);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    const std::int32_t token = from.data<std::int32_t>()[i];
    const auto other = static_cast<std::int32_t>((token + 1) % model.vocab_size());
    place.data<std::int32_t>()[i] = i % seq_len == position ? other : token;
  }
  copy(changed, place);
  const auto logits = [&](const Tensor& text) {
    ctx.begin_pass(/*seed=*/0, /*step=*/0);  // the same draws, where an ablation draws
    return on_host(model.logits(ctx, text));
  };
  const Tensor before = logits(tokens);
  const Tensor after = logits(changed);
  const std::int64_t padded = before.dim(2);
  std::vector<double> largest(static_cast<std::size_t>(seq_len));
  visit_logits(before, [&]<typename T>(const T* data) {
    for (std::int64_t i = 0; i < before.numel(); ++i) {
      const double change = std::abs(to_double(after.data<T>()[i]) - to_double(data[i]));
      double& found = largest[static_cast<std::size_t>(i / padded % seq_len)];
      found = std::isnan(change) ? INFINITY : std::max(found, change);
    }
  });
  return largest;
}

}  // namespace ghost
