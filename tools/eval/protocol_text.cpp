#include "tools/eval/protocol_text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tools/console/quantity.h"

namespace ghost {
namespace {

std::string nats(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

std::string score_lines(const ProtocolResult& result) {
  const bool has_baseline = !result.baseline.empty();
  std::string text = fmt::format("{:<5} {:>9} {:>8} {:>12}", "score", "nats", "+-", "tokens");
  if (has_baseline) {
    text += fmt::format(" {:>9} {:>11} {:>8}", "baseline", "difference", "+-");
  }
  text += "\n";
  for (const ProtocolScore& score : result.scores) {
    text += fmt::format("{:<5} {:>9} {:>8} {:>12}", score.name, nats(score.nats.mean),
                        nats(score.nats.standard_error), format_count(score.tokens));
    if (has_baseline) {
      const Estimate none{.mean = NAN, .standard_error = NAN};
      const Estimate difference = score.difference.value_or(none);
      text += fmt::format(" {:>9} {:>11} {:>8}", nats(score.baseline.value_or(none).mean),
                          nats(difference.mean), nats(difference.standard_error));
    }
    text += fmt::format("  {}\n", score.label);
  }
  return text;
}

double mean_of(const PositionCurve& curve, std::size_t begin, std::size_t end) {
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t t = begin; t < end; ++t) {
    if (std::isfinite(curve.nats[t])) {
      sum += curve.nats[t];
      ++count;
    }
  }
  return count == 0 ? NAN : sum / static_cast<double>(count);
}

/// By ranges of positions that double, 0, 1, 2-3, 4-7, with the last position by itself: what sees
/// the future is good at the first ones and jumps at the last.
std::string curve_lines(const ProtocolResult& result) {
  std::string text = fmt::format("{:<11}", "positions");
  for (const PositionCurve& curve : result.curves) {
    text += fmt::format(" {:>9}", curve.name);
  }
  text += "\n";
  const auto last = static_cast<std::size_t>(result.seq_len - 1);
  for (std::size_t begin = 0; begin <= last;) {
    const std::size_t end =
        begin == last ? last + 1 : std::min(std::max(begin * 2, begin + 1), last);
    text += fmt::format("{:<11}", end == begin + 1 ? fmt::format("{}", begin)
                                                   : fmt::format("{}-{}", begin, end - 1));
    for (const PositionCurve& curve : result.curves) {
      text += fmt::format(" {:>9}", nats(mean_of(curve, begin, end)));
    }
    text += "\n";
    begin = end;
  }
  return text;
}

}  // namespace

std::string flip_text(const FlipResult& flip) {
  const std::string tried =
      fmt::format("{} {} of {} {}", flip.num_tokens, flip.num_tokens == 1 ? "token" : "tokens",
                  flip.num_windows, flip.num_windows == 1 ? "window" : "windows");
  return flip.largest == 0 ? fmt::format("0: no logit reads a later token; {}", tried)
                           : fmt::format("{:.4g}: token {} changes a logit at position {}; {}",
                                         flip.largest, flip.changed, flip.position, tried);
}

std::string variant_text(const ProtocolResult& result) {
  return result.ablation.empty() || result.ablation == "none"
             ? result.variant
             : fmt::format("{}, {}", result.variant, result.ablation);
}

std::string protocol_text(const ProtocolResult& result) {
  std::string text = fmt::format("weights: {}\n", result.weights);
  if (!result.variant.empty()) {
    text += fmt::format("regions: {}\n", variant_text(result));
  }
  if (!result.baseline.empty()) {
    text += fmt::format("baseline: {}\n", result.baseline);
  }
  text += fmt::format("windows: {} of {} tokens\n", format_count(result.windows), result.seq_len);
  if (!result.scores.empty()) {
    text += score_lines(result);
  }
  if (result.flip.has_value()) {
    text += fmt::format("flip  {}\n", flip_text(*result.flip));
  }
  if (!result.curves.empty()) {
    text += curve_lines(result);
  }
  return text;
}

}  // namespace ghost
