#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/report/line_chart.h"
#include "tools/sweep/sweep_file.h"

namespace ghost {

/// One run of a sweep over its seeds, as its logs tell. Figures that were not logged are NaN.
struct SweepRow {
  std::string run;
  std::string loss_label;  // what its losses are, where the reader would take them for others
  std::vector<std::int64_t> seeds;
  std::vector<double> val_losses;  // at the last evaluation, one a seed
  std::string score_name;          // "accuracy"; empty: models without a score
  std::vector<double> scores;      // at the last evaluation, one a seed
  /// Of approximate gradients with the exact ones, mean over seeds, observations and modules whose
  /// gradients are not exact. NaN without monitor.exact.
  double cosine = 0;
  double train_loss = 0;        // of the last step, mean over seeds: one batch a seed
  double train_loss_100 = 0;    // mean over the last 100 logged steps and seeds
  double best_val_loss = 0;     // mean over seeds of the lowest
  double seconds = 0;           // inside steps, mean over seeds
  double ms_per_step = 0;       // median over steps, mean over seeds
  double tokens = 0;            // trained on
  double activation_bytes = 0;  // peak of residuals and sketches together, the largest of the seeds
  std::vector<ChartPoint> curve;  // val loss, mean over seeds, at the steps that all have

  double val_loss() const;     // mean
  double val_loss_sd() const;  // of the sample, over seeds; NaN for one
};

/// Reads the logs of every job that is finished; runs without one are left out.
std::vector<SweepRow> read_results(const Sweep& sweep);

/// For each row whether no other is as good in bytes, seconds and val loss and better in one.
std::vector<bool> pareto_front(const std::vector<SweepRow>& rows);

/// Writes results.tsv, results.md, curves.svg and front.svg into the sweep's directory.
void write_results(const Sweep& sweep, const std::vector<SweepRow>& rows);

}  // namespace ghost
