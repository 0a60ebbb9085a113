#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/lbi/lbi_model.h"

namespace ghost {

// Scores of single positions, on the host: what tells a model that reads its targets from one that
// predicts them. tokens, targets: [B, T].

/// Whether scored logits read tokens behind their own position, so that a loss over full windows is
/// that of no predictor.
bool sees_future(const RegionsConfig& config);

/// What such a loss is called wherever it is shown: "teacher-forced, sees future". Empty for a
/// model without regions and for causal variants.
std::string_view loss_label(const std::optional<RegionsConfig>& config);

/// Cross-entropy of every position in nats, [B, T], each window read as a whole.
std::vector<double> position_losses(Context& ctx, LanguageModel& model, const Tensor& tokens,
                                    const Tensor& targets);

/// The same where states know the text so far only: for j = 1, 2, ... they are made of the first
/// j * every tokens and positions j * every - 1 to (j + 1) * every - 2 are scored; earlier ones are
/// NaN. A predictor for every variant that pools a prompt (paper, prefix_lm). Expects
/// 0 < every <= T.
std::vector<double> refreshed_losses(Context& ctx, const LbiModel& model, const Tensor& tokens,
                                     const Tensor& targets, std::int64_t every);

/// Largest change of a logit at each position, [T], over the sequences, when the token at
/// `position` of each of them is another one.
std::vector<double> logit_changes(Context& ctx, LanguageModel& model, const Tensor& tokens,
                                  std::int64_t position);

}  // namespace ghost
