#include "tools/console/step_line.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "tools/console/quantity.h"

namespace ghost {
namespace {

double share_done(const StepLine& line) {
  if (line.steps <= 0) {
    return 0;
  }
  return std::clamp(static_cast<double>(line.step) / static_cast<double>(line.steps), 0.0, 1.0);
}

std::string rate(const StepLine& line) {
  const std::string unit =
      line.item == "token" ? std::string(" tok/s") : fmt::format(" {}s/s", line.item);
  // Beyond 2^53 the digits are no longer ours, and a rate that is not finite has none.
  if (!(line.tokens_per_s >= 0 && line.tokens_per_s < 9e15)) {
    return "?" + unit;
  }
  return format_count(std::llround(line.tokens_per_s)) + unit;
}

}  // namespace

std::string format_step_line(const StepLine& line) {
  std::string text =
      fmt::format("step {:>6}/{} ({:.1f}%) | loss {:.4f} | norm {:.4f} | lr {:.2e} | {} | {}",
                  line.step, line.steps, 100 * share_done(line), line.loss, line.grad_norm, line.lr,
                  format_ms(line.ms_per_step), rate(line));
  if (line.mfu) {
    text += fmt::format(" | {:.1f}% MFU", 100 * *line.mfu);
  }
  text += fmt::format(" | act {} | eta {}", format_bytes(line.activation_bytes),
                      format_duration(line.eta_s));
  return text;
}

std::string format_score(std::string_view name, double score) {
  return name == "accuracy" ? fmt::format("{:.2f}%", 100 * score) : fmt::format("{:.3e}", score);
}

std::string format_eval_line(const EvalLine& line) {
  std::string text = fmt::format("step {:>6}/{} | val loss {:.4f}{}", line.step, line.steps,
                                 line.val_loss, line.best ? " (best)" : "");
  if (!line.label.empty()) {
    text += fmt::format(", {}", line.label);
  }
  if (line.train_loss) {
    text += fmt::format(" | train loss {:.4f}", *line.train_loss);
  }
  if (line.score) {
    text += fmt::format(" | {} {}", line.score_name, format_score(line.score_name, *line.score));
  }
  return text + fmt::format(" | {} batch{}", line.batches, line.batches == 1 ? "" : "es");
}

std::string format_live_bar(const StepLine& line, int columns) {
  constexpr int kShortestBar = 10;
  constexpr int kLongestBar = 40;
  constexpr int kBrackets = 3;  // "[", "]" and the space after them

  const std::string head =
      fmt::format("{}/{} {:.1f}%", line.step, line.steps, 100 * share_done(line));
  // In order of importance; shown in this order too.
  std::vector<std::string> fields = {fmt::format(" | loss {:.4f}", line.loss),
                                     " | eta " + format_duration(line.eta_s), " | " + rate(line)};
  if (line.mfu) {
    fields.push_back(fmt::format(" | {:.1f}% MFU", 100 * *line.mfu));
  }

  std::string text = head;
  for (const std::string& field : fields) {
    if (static_cast<int>(text.size() + field.size()) + kBrackets + kShortestBar > columns) {
      break;
    }
    text += field;
  }
  const int room = columns - static_cast<int>(text.size()) - kBrackets;
  if (room < kShortestBar) {
    return text.substr(0, static_cast<std::size_t>(std::max(columns, 0)));
  }

  const int length = std::min(room, kLongestBar);
  const int filled = static_cast<int>(share_done(line) * length);
  std::string bar(static_cast<std::size_t>(filled), '=');
  if (filled < length) {
    bar += '>';
    bar.append(static_cast<std::size_t>(length - filled - 1), ' ');
  }
  return "[" + bar + "] " + text;
}

}  // namespace ghost
