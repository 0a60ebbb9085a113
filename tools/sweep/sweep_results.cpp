#include "tools/sweep/sweep_results.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "engine/io/file.h"
#include "tools/console/quantity.h"
#include "tools/report/run_log.h"
#include "tools/report/scatter_chart.h"
#include "tools/sweep/sweep_runner.h"

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double mean(const std::vector<double>& values) {
  return values.empty() ? kNan
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

/// Over every observation of every run; exact gradients do not count.
double mean_cosine(const std::vector<RunLog>& logs) {
  constexpr double kExact = 1 - 1e-6;
  std::vector<double> cosines;
  for (const RunLog& log : logs) {
    for (const MonitorPoint& point : log.monitor) {
      for (const double cosine : point.values[kExactCosine]) {
        if (cosine < kExact) {
          cosines.push_back(cosine);
        }
      }
    }
  }
  return mean(cosines);
}

double mean_of_last(const RunLog& log, std::size_t count) {
  std::vector<double> losses;
  for (auto point = log.train.rbegin(); point != log.train.rend() && losses.size() < count;
       ++point) {
    losses.push_back(point->loss);
  }
  return mean(losses);
}

std::vector<ChartPoint> mean_curve(const std::vector<RunLog>& logs) {
  std::map<std::int64_t, std::vector<double>> losses;
  for (const RunLog& log : logs) {
    for (const EvalPoint& point : log.evals) {
      losses[point.step].push_back(point.val_loss);
    }
  }
  std::vector<ChartPoint> curve;
  for (const auto& [step, values] : losses) {
    if (values.size() == logs.size()) {
      curve.push_back({static_cast<double>(step), mean(values)});
    }
  }
  return curve;
}

SweepRow make_row(const std::string& run, const std::vector<std::int64_t>& seeds,
                  const std::vector<RunLog>& logs) {
  const auto mean_over = [&](auto&& figure) {
    std::vector<double> values;
    for (const RunLog& log : logs) {
      values.push_back(figure(log));
    }
    return mean(values);
  };
  SweepRow row{.run = run,
               .loss_label = logs.front().facts.loss_label,
               .seeds = seeds,
               .score_name = logs.front().facts.score,
               .curve = mean_curve(logs)};
  for (const RunLog& log : logs) {
    row.val_losses.push_back(log.evals.empty() ? kNan : log.evals.back().val_loss);
    row.scores.push_back(log.evals.empty() ? kNan : log.evals.back().score);
    row.activation_bytes = std::max(row.activation_bytes, static_cast<double>(log.kept_bytes));
  }
  row.cosine = mean_cosine(logs);
  row.train_loss = mean_over([](const RunLog& log) { return mean_of_last(log, 1); });
  row.train_loss_100 = mean_over([](const RunLog& log) { return mean_of_last(log, 100); });
  row.best_val_loss = mean_over([](const RunLog& log) {
    const EvalPoint* best = best_eval(log);
    return best == nullptr ? kNan : best->val_loss;
  });
  row.seconds = mean_over(seconds_in_steps);
  row.ms_per_step =
      mean_over([](const RunLog& log) { return median_of(log, &TrainPoint::ms_per_step); });
  row.tokens =
      mean_over([](const RunLog& log) { return log.train.empty() ? 0 : log.train.back().tokens; });
  return row;
}

std::string loss_text(double loss) {
  return std::isfinite(loss) ? fmt::format("{:.4f}", loss) : "-";
}

std::string labelled_name(const SweepRow& row) {
  return row.loss_label.empty() ? row.run : fmt::format("{} ({})", row.run, row.loss_label);
}

std::string losses_text(const std::vector<double>& losses, std::string_view separator) {
  std::vector<std::string> texts;
  for (const double loss : losses) {
    texts.push_back(loss_text(loss));
  }
  return fmt::format("{}", fmt::join(texts, separator));
}

/// The score, where all rows have the same one.
std::string score_of(const std::vector<SweepRow>& rows) {
  const bool is_shared = std::all_of(rows.begin(), rows.end(), [&](const SweepRow& row) {
    return row.score_name == rows.front().score_name;
  });
  return is_shared && !rows.empty() ? rows.front().score_name : std::string();
}

bool has_cosines(const std::vector<SweepRow>& rows) {
  return std::any_of(rows.begin(), rows.end(),
                     [](const SweepRow& row) { return std::isfinite(row.cosine); });
}

std::string tsv(const std::vector<SweepRow>& rows, const std::vector<bool>& front) {
  std::string text =
      "run\tseeds\ttrain_loss\ttrain_loss_100\tval_loss\tval_loss_sd\tval_losses\tbest_val_loss\t"
      "seconds\tms_per_step\ttokens\tactivation_bytes\ton_front";
  const std::string score = score_of(rows);
  text += score.empty() ? "" : "\t" + score;
  text += has_cosines(rows) ? "\texact_cosine\n" : "\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SweepRow& row = rows[i];
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.3f}\t{:.3f}\t{:.0f}\t{:.0f}\t{}{}{}\n",
                        row.run, fmt::join(row.seeds, ","), loss_text(row.train_loss),
                        loss_text(row.train_loss_100), loss_text(row.val_loss()),
                        loss_text(row.val_loss_sd()), losses_text(row.val_losses, ","),
                        loss_text(row.best_val_loss), row.seconds, row.ms_per_step, row.tokens,
                        row.activation_bytes, front[i] ? 1 : 0,
                        score.empty() ? "" : "\t" + losses_text(row.scores, ","),
                        has_cosines(rows) ? "\t" + loss_text(row.cosine) : "");
  }
  return text;
}

/// A table's head, and what a row has under it.
struct Column {
  std::string head;
  std::function<std::string(const SweepRow&)> text;
};

std::vector<Column> columns_of(const std::vector<SweepRow>& rows) {
  std::vector<Column> columns = {
      {"run", labelled_name},
      {"seeds", [](const SweepRow& row) { return fmt::format("{}", fmt::join(row.seeds, " ")); }}};
  if (const std::string score = score_of(rows); !score.empty()) {
    columns.push_back({score, [](const SweepRow& row) { return loss_text(mean(row.scores)); }});
    columns.push_back(
        {"each seed", [](const SweepRow& row) { return losses_text(row.scores, " "); }});
  }
  if (has_cosines(rows)) {
    columns.push_back({"cosine", [](const SweepRow& row) { return loss_text(row.cosine); }});
  }
  const std::vector<Column> rest = {
      {"train loss", [](const SweepRow& row) { return loss_text(row.train_loss); }},
      {"last 100", [](const SweepRow& row) { return loss_text(row.train_loss_100); }},
      {"val loss", [](const SweepRow& row) { return loss_text(row.val_loss()); }},
      {"sd", [](const SweepRow& row) { return loss_text(row.val_loss_sd()); }},
      {"each seed", [](const SweepRow& row) { return losses_text(row.val_losses, " "); }},
      {"best", [](const SweepRow& row) { return loss_text(row.best_val_loss); }},
      {"seconds", [](const SweepRow& row) { return fmt::format("{:.1f}", row.seconds); }},
      {"ms a step", [](const SweepRow& row) { return fmt::format("{:.2f}", row.ms_per_step); }},
      {"items", [](const SweepRow& row) { return format_count(std::llround(row.tokens)); }},
      {"residuals + sketches", [](const SweepRow& row) {
         return format_bytes(static_cast<std::int64_t>(row.activation_bytes));
       }}};
  columns.insert(columns.end(), rest.begin(), rest.end());
  return columns;
}

std::string markdown(const std::vector<SweepRow>& rows, const std::vector<bool>& front) {
  const std::vector<Column> columns = columns_of(rows);
  std::string text;
  std::string line;
  for (const Column& column : columns) {
    text += fmt::format("| {} ", column.head);
    line += "|---";
  }
  text += fmt::format("| front |\n{}|---|\n", line);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const Column& column : columns) {
      text += fmt::format("| {} ", column.text(rows[i]));
    }
    text += fmt::format("| {} |\n", front[i] ? "yes" : "");
  }
  return text +
         "\nTrain loss: the batch of the last step, and the mean over the last 100 logged steps. "
         "Val "
         "loss: the last\nevaluation, mean and sample standard deviation over seeds; best: the "
         "lowest. Seconds: inside steps, without\nevaluation and checkpoints. Front: no other run "
         "is "
         "as good in bytes, seconds and val loss and better in one.\n";
}

LineChart curves(const std::vector<SweepRow>& rows) {
  LineChart chart{.title = "Validation loss", .unit = "nats a token, mean over seeds"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    chart.series.push_back({.label = labelled_name(rows[i]),
                            .color = static_cast<int>(i % 16),
                            .points = rows[i].curve});
  }
  return chart;
}

ScatterChart front_chart(const std::vector<SweepRow>& rows, const std::vector<bool>& front) {
  ScatterChart chart{.title = "Validation loss against bytes",
                     .unit = "labels: seconds in steps; filled: on the front of the three",
                     .x_label = "peak bytes of residuals and sketches"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    chart.points.push_back(
        {.label = fmt::format("{}, {}", labelled_name(rows[i]),
                              rows[i].seconds < 60 ? fmt::format("{:.1f}s", rows[i].seconds)
                                                   : format_duration(rows[i].seconds)),
         .x = rows[i].activation_bytes,
         .y = rows[i].val_loss(),
         .is_filled = front[i]});
  }
  return chart;
}

}  // namespace

double SweepRow::val_loss() const { return mean(val_losses); }

double SweepRow::val_loss_sd() const {
  if (val_losses.size() < 2) {
    return kNan;
  }
  double sum_sq = 0;
  for (const double loss : val_losses) {
    sum_sq += (loss - val_loss()) * (loss - val_loss());
  }
  return std::sqrt(sum_sq / static_cast<double>(val_losses.size() - 1));
}

std::vector<SweepRow> read_results(const Sweep& sweep) {
  std::vector<SweepRow> rows;
  for (const std::string& run : sweep.runs) {
    std::vector<std::int64_t> seeds;
    std::vector<RunLog> logs;
    for (const SweepJob& job : sweep.jobs) {
      if (job.run == run && state_of(job) == RunState::kFinished) {
        seeds.push_back(job.config.train.seed);
        logs.push_back(read_run_log(job.config.run.dir));
      }
    }
    if (!logs.empty()) {
      rows.push_back(make_row(run, seeds, logs));
    }
  }
  return rows;
}

std::vector<bool> pareto_front(const std::vector<SweepRow>& rows) {
  const auto is_beaten = [&](const SweepRow& row) {
    return std::any_of(rows.begin(), rows.end(), [&](const SweepRow& other) {
      const double loss = row.val_loss();
      const double better = other.val_loss();
      return other.activation_bytes <= row.activation_bytes && other.seconds <= row.seconds &&
             better <= loss &&
             (other.activation_bytes < row.activation_bytes || other.seconds < row.seconds ||
              better < loss);
    });
  };
  std::vector<bool> front;
  for (const SweepRow& row : rows) {
    front.push_back(std::isfinite(row.val_loss()) && !is_beaten(row));
  }
  return front;
}

void write_results(const Sweep& sweep, const std::vector<SweepRow>& rows) {
  const std::vector<bool> front = pareto_front(rows);
  write_file_atomically(sweep.out / "results.tsv", tsv(rows, front));
  write_file_atomically(sweep.out / "results.md", markdown(rows, front));
  write_file_atomically(sweep.out / "curves.svg", render_line_chart_file(curves(rows)));
  write_file_atomically(sweep.out / "front.svg",
                        render_scatter_chart_file(front_chart(rows, front)));
}

}  // namespace ghost
