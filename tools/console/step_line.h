#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ghost {

/// What one optimizer step shows on the console: the fields of nanoGPT's and llm.c's lines.
struct StepLine {
  std::int64_t step = 0;   // 1-based: steps done, this one included
  std::int64_t steps = 0;  // of the whole run
  double loss = 0;
  double grad_norm = 0;  // before clipping
  double lr = 0;
  std::int64_t sketch_rank = 0;  // 0: nothing is sketched; for the log, not shown
  double ms_per_step = 0;
  double tokens_per_s = 0;
  std::string_view item = "token";    // what they are tokens of, or samples
  std::optional<double> mfu{};        // share of the peak named at start, 0 to 1
  std::int64_t activation_bytes = 0;  // peak of what backward keeps: residuals and sketches
  double eta_s = 0;
};

/// What one evaluation shows.
struct EvalLine {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double val_loss = 0;
  std::optional<double> train_loss{};  // same number of batches of the training split
  std::int64_t batches = 0;
  bool best = false;
  std::string_view score_name{};  // "accuracy"
  std::optional<double> score{};  // of a model that has one
  std::string_view label{};       // what val_loss is, where the reader would take it for another
};

/// `step    120/5000 (2.4%) | loss 4.1234 | norm 0.8123 | lr 6.00e-04 | 98.4 ms | 665,820 tok/s |
/// 52.3% MFU | act 41.2 MiB | eta 8m01s`, without a line end. MFU is left out where it is unknown.
std::string format_step_line(const StepLine& line);

/// A score as people read it: an accuracy in percent, an error with its power of ten.
std::string format_score(std::string_view name, double score);

/// `step    250/5000 | val loss 3.9120 (best) | 40 batches`, without a line end; a score stands
/// before the batches, `accuracy 97.31%`.
std::string format_eval_line(const EvalLine& line);

/// `[=====>    ] 120/5000 2.4% | loss 4.1234 | ...` in at most `columns` characters. The bar takes
/// what the fields leave; fields that do not fit are dropped, the least important first.
std::string format_live_bar(const StepLine& line, int columns);

}  // namespace ghost
