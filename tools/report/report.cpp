#include "tools/report/report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "engine/core/error.h"
#include "tools/console/quantity.h"
#include "tools/console/step_line.h"
#include "tools/report/html_text.h"
#include "tools/report/line_chart.h"
#include "tools/report/memory_bars.h"
#include "tools/report/monitor_section.h"
#include "tools/report/page_style.h"
#include "tools/report/protocol_section.h"

namespace ghost {
namespace {

/// Steps whose mean stands for the final training loss: one batch alone is mostly noise.
constexpr std::size_t kFinalWindow = 20;

/// One figure of a run: its name, its value and what qualifies it.
struct Fact {
  std::string name;
  std::string value;
  std::string detail;
};

std::string number_or_dash(double value, const std::function<std::string(double)>& format) {
  return std::isfinite(value) ? format(value) : "\u2013";
}

std::string loss_text(double loss) {
  return number_or_dash(loss, [](double v) { return fmt::format("{:.4f}", v); });
}

Fact validation_fact(const RunLog& run) {
  const EvalPoint* best = best_eval(run);
  if (best == nullptr) {
    return {"best val loss", "\u2013", "no evaluation"};
  }
  const EvalPoint& last = run.evals.back();
  const std::string at = last.step == best->step
                             ? fmt::format("at step {}, the last", format_count(best->step))
                             : fmt::format("at step {}; last {} at {}", format_count(best->step),
                                           loss_text(last.val_loss), format_count(last.step));
  const std::string& label = run.facts.loss_label;
  return {"best val loss", loss_text(best->val_loss), label.empty() ? at : label + "; " + at};
}

/// Of the evaluation after the last step, and the best one.
Fact score_fact(const RunLog& run) {
  const std::string name = run.facts.score.empty() ? "score" : run.facts.score;
  if (run.facts.score.empty()) {
    return {name, "\u2013", "the model has none"};
  }
  if (run.evals.empty()) {
    return {name, "\u2013", "no evaluation"};
  }
  const auto text = [&](double value) {
    return number_or_dash(value, [&](double v) { return format_score(name, v); });
  };
  const bool is_accuracy = name == "accuracy";
  double best = run.evals.front().score;
  for (const EvalPoint& point : run.evals) {
    best = is_accuracy ? std::max(best, point.score) : std::min(best, point.score);
  }
  return {name, text(run.evals.back().score), fmt::format("at the last step; best {}", text(best))};
}

Fact train_loss_fact(const RunLog& run) {
  const std::size_t count = std::min(kFinalWindow, run.train.size());
  double sum = 0;
  for (auto point = run.train.end() - static_cast<std::ptrdiff_t>(count); point != run.train.end();
       ++point) {
    sum += point->loss;
  }
  return {"final train loss", loss_text(sum / static_cast<double>(count)),
          count == 0 ? "no step" : fmt::format("mean of the last {} logged steps", count)};
}

std::string rate_unit(const RunLog& run) {
  return run.facts.item == "token" ? " tok/s" : fmt::format(" {}s/s", run.facts.item);
}

Fact throughput_fact(const RunLog& run) {
  const double ms = median_of(run, &TrainPoint::ms_per_step);
  return {"throughput",
          number_or_dash(median_of(run, &TrainPoint::tokens_per_s),
                         [&](double v) { return format_count(std::llround(v)) + rate_unit(run); }),
          std::isfinite(ms) ? format_ms(ms) + " per step, medians" : "median"};
}

Fact mfu_fact(const RunLog& run) {
  const double mfu = median_of(run, &TrainPoint::mfu);
  const RunFacts& facts = run.facts;
  if (!std::isfinite(mfu) || !(facts.peak_flops > 0)) {
    return {"MFU", "\u2013", "peak of the device unknown"};
  }
  return {"MFU", fmt::format("{:.1f}%", 100 * mfu),
          fmt::format("of {}FLOP/s{}{}", format_short(facts.peak_flops),
                      facts.peak_source.empty() ? "" : ", ", facts.peak_source)};
}

Fact memory_fact(const RunLog& run) {
  return {"memory", run.reserved_bytes > 0 ? format_bytes(run.reserved_bytes) : "\u2013",
          "most reserved from the system"};
}

bool has_score(const RunLog& run) { return !run.facts.score.empty(); }

std::vector<Fact> facts_of(const RunLog& run, bool with_score) {
  const RunFacts& facts = run.facts;
  const double tokens = run.train.empty() ? 0 : run.train.back().tokens;
  const std::int64_t steps = run.train.empty() ? 0 : run.train.back().step;
  const auto short_form = [](double v) { return format_short(v); };
  std::vector<Fact> list = {
      validation_fact(run),
      train_loss_fact(run),
      {"steps", format_count(steps),
       facts.steps > 0 ? fmt::format("of {} planned", format_count(std::llround(facts.steps)))
                       : ""},
      {facts.item + "s", number_or_dash(tokens, short_form),
       facts.tokens_per_step > 0 ? format_count(std::llround(facts.tokens_per_step)) + " per step"
                                 : ""},
      {"time in steps", number_or_dash(seconds_in_steps(run), format_duration),
       "without evaluation and checkpoints"},
      throughput_fact(run),
      mfu_fact(run),
      memory_fact(run),
      {"parameters", number_or_dash(facts.parameters, short_form),
       facts.flops_per_token > 0 ? format_short(facts.flops_per_token) + "FLOP per " + facts.item
                                 : ""},
      {"model", facts.model.empty() ? "\u2013" : facts.model,
       fmt::format("{}{}{}", facts.dtype, facts.dtype.empty() || facts.device.empty() ? "" : " on ",
                   facts.device) +
           (facts.threads > 0
                ? fmt::format(", {:.0f} thread{}", facts.threads, facts.threads == 1 ? "" : "s")
                : "")},
  };
  if (with_score) {
    list.insert(list.begin() + 1, score_fact(run));
  }
  return list;
}

/// One run: a tile a fact.
std::string render_tiles(const RunLog& run) {
  std::string html = "<dl class=\"facts\">\n";
  for (const Fact& fact : facts_of(run, has_score(run))) {
    html += fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n",
                        escape_html(fact.name), escape_html(fact.value), escape_html(fact.detail));
  }
  return html + "</dl>\n";
}

/// Several runs: a row a fact, a column a run.
std::string render_comparison(std::span<const RunLog> runs) {
  std::string html =
      "<div class=\"panel scroll\">\n<table class=\"facts-table\">\n<thead><tr><th></th>";
  std::vector<std::vector<Fact>> columns;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    html += "<th>" + legend_entry(static_cast<int>(i), Mark::kLine, runs[i].facts.name) + "</th>";
    columns.push_back(facts_of(runs[i], std::any_of(runs.begin(), runs.end(), has_score)));
  }
  html += "</tr></thead>\n<tbody>\n";
  for (std::size_t row = 0; row < columns.front().size(); ++row) {
    html += fmt::format("<tr><th>{}</th>", escape_html(columns.front()[row].name));
    for (const std::vector<Fact>& column : columns) {
      html += fmt::format("<td><b>{}</b><br><span class=\"note\">{}</span></td>",
                          escape_html(column[row].value), escape_html(column[row].detail));
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n</div>\n";
}

using TrainField = double TrainPoint::*;

std::vector<ChartPoint> points_of(const RunLog& run, TrainField field) {
  std::vector<ChartPoint> points;
  points.reserve(run.train.size());
  for (const TrainPoint& point : run.train) {
    points.push_back({static_cast<double>(point.step), point.*field});
  }
  return points;
}

/// " of NAME" in a legend with several runs, nothing in the report of one.
std::string suffix(std::span<const RunLog> runs, const RunLog& run) {
  return runs.size() > 1 ? ", " + run.facts.name : "";
}

LineChart field_chart(std::span<const RunLog> runs, TrainField field, Mark mark, LineChart chart) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    chart.series.push_back({.label = runs[i].facts.name,
                            .color = static_cast<int>(i),
                            .mark = mark,
                            .points = points_of(runs[i], field)});
  }
  return chart;
}

/// A noisy curve: faint as logged, bold as its mean over a hundredth of it on either side. A
/// log too short for that is drawn as it is.
void add_smoothed(LineChart& chart, Series curve) {
  const std::size_t half_width = curve.points.size() / 100;
  if (half_width > 0) {
    constexpr std::string_view kExplained = "; faint: logged, bold: mean over 2%";
    if (chart.unit.find(kExplained) == std::string::npos) {
      chart.unit += kExplained;
    }
    chart.series.push_back(
        {.color = curve.color, .mark = Mark::kFaintLine, .points = curve.points});
    curve.points = smooth(curve.points, half_width);
  }
  chart.series.push_back(std::move(curve));
}

std::int64_t last_step(std::span<const RunLog> runs) {
  std::int64_t last = 0;
  for (const RunLog& run : runs) {
    last = run.train.empty() ? last : std::max(last, run.train.back().step);
  }
  return last;
}

/// A resumed run changes nothing in the curves but explains a jump; a value that is not finite
/// explains a gap.
std::vector<double> marked_events(std::span<const RunLog> runs) {
  std::vector<double> steps;
  for (const RunLog& run : runs) {
    for (const RunEvent& event : run.events) {
      if (event.event == "resume" || event.event == "nonfinite") {
        steps.push_back(static_cast<double>(event.step));
      }
    }
  }
  return steps;
}

/// What the runs count; "item" where they count different things.
std::string item_of(std::span<const RunLog> runs) {
  const std::string& first = runs.front().facts.item;
  const bool is_same = std::all_of(runs.begin(), runs.end(),
                                   [&](const RunLog& run) { return run.facts.item == first; });
  return is_same ? first : "item";
}

/// Scores of evaluations, of the runs that have the same one as the first.
LineChart score_chart(std::span<const RunLog> runs) {
  const std::string& name = runs.front().facts.score;
  LineChart chart{.title = name};
  if (name != "accuracy") {
    chart.unit = "log scale";
    chart.scale = Scale::kLog;
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Series series{.label = runs[i].facts.name, .color = static_cast<int>(i), .mark = Mark::kPoints};
    if (runs[i].facts.score == name) {
      for (const EvalPoint& point : runs[i].evals) {
        series.points.push_back({static_cast<double>(point.step), point.score});
      }
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

enum class LossView { kWhole, kSecondHalf, kByTokens };

LineChart loss_chart(std::span<const RunLog> runs, LossView view) {
  LineChart chart;
  chart.unit = "nats per " + item_of(runs);
  switch (view) {
    case LossView::kWhole:
      chart.title = "Loss";
      chart.events = marked_events(runs);
      break;
    case LossView::kSecondHalf:
      chart.title = "Loss, second half";
      break;
    case LossView::kByTokens:
      chart.title = fmt::format("Loss by {}s", item_of(runs));
      chart.x_label = item_of(runs) + "s";
      break;
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const RunLog& run = runs[i];
    const double x_scale = view == LossView::kByTokens ? run.facts.tokens_per_step : 1;
    const double x_first =
        view == LossView::kSecondHalf ? 0.5 * static_cast<double>(last_step(runs)) : 0;
    const int color = static_cast<int>(i);
    Series train{.label = "train" + suffix(runs, run), .color = color};
    for (const TrainPoint& point : run.train) {
      if (static_cast<double>(point.step) >= x_first) {
        train.points.push_back({static_cast<double>(point.step) * x_scale, point.loss});
      }
    }
    Series val{.label = "val" + suffix(runs, run),
               .color = runs.size() > 1 ? color : 1,
               .mark = Mark::kPoints};
    for (const EvalPoint& point : run.evals) {
      if (static_cast<double>(point.step) >= x_first) {
        val.points.push_back({static_cast<double>(point.step) * x_scale, point.val_loss});
      }
    }
    add_smoothed(chart, std::move(train));
    if (!val.points.empty()) {
      chart.series.push_back(std::move(val));
    }
  }
  return chart;
}

bool differ_in_tokens_per_step(std::span<const RunLog> runs) {
  const auto tokens = [&](const RunLog& run) { return run.facts.tokens_per_step; };
  const bool all_known =
      std::all_of(runs.begin(), runs.end(), [&](const RunLog& run) { return tokens(run) > 0; });
  return all_known && std::any_of(runs.begin(), runs.end(), [&](const RunLog& run) {
           return tokens(run) != tokens(runs.front());
         });
}

LineChart grad_norm_chart(std::span<const RunLog> runs) {
  LineChart chart{
      .title = "Gradient norm", .unit = "before clipping; log scale", .scale = Scale::kLog};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    add_smoothed(chart, {.label = runs[i].facts.name,
                         .color = static_cast<int>(i),
                         .points = points_of(runs[i], &TrainPoint::grad_norm)});
  }
  return chart;
}

std::string render_charts(std::span<const RunLog> runs) {
  std::string html = "<div class=\"charts\">\n";
  html += render_line_chart(loss_chart(runs, LossView::kWhole));
  // Six charts fill the page. Equal steps of unequal size compare little, so tokens go first.
  html += render_line_chart(loss_chart(
      runs, differ_in_tokens_per_step(runs) ? LossView::kByTokens : LossView::kSecondHalf));
  if (!runs.front().facts.score.empty()) {
    html += render_line_chart(score_chart(runs));
  }
  html += render_line_chart(grad_norm_chart(runs));
  html += render_line_chart(
      field_chart(runs, &TrainPoint::lr, Mark::kLine, {.title = "Learning rate", .y_low = 0}));
  html += render_line_chart(
      field_chart(runs, &TrainPoint::tokens_per_s, Mark::kFineLine,
                  {.title = "Throughput", .unit = item_of(runs) + "s per second", .y_low = 0}));
  html += render_line_chart(field_chart(
      runs, &TrainPoint::ms_per_step, Mark::kFineLine,
      {.title = "Step time", .unit = "ms per step", .y_low = 0, .clips_outliers = true}));
  return html + render_memory(runs) + "</div>\n";
}

std::string render_events(std::span<const RunLog> runs) {
  std::string html = "<h2>Events</h2>\n";
  for (const RunLog& run : runs) {
    html += "<div class=\"panel events\">\n";
    if (runs.size() > 1) {
      html += fmt::format("<b>{}</b>\n", escape_html(run.facts.name));
    }
    if (run.events.empty()) {
      html += "<p class=\"note\">None logged.</p>\n";
    } else {
      html +=
          "<table>\n<thead><tr><th>step</th><th>event</th><th>detail</th></tr></thead>\n<tbody>\n";
      for (const RunEvent& event : run.events) {
        html +=
            fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", format_count(event.step),
                        escape_html(event.event), escape_html(event.detail));
      }
      html += "</tbody>\n</table>\n";
    }
    if (run.repeated_lines > 0) {
      html += fmt::format(
          "<p class=\"note\">{} logged {} done again after a resume; the later ones are "
          "drawn.</p>\n",
          format_count(run.repeated_lines), run.repeated_lines == 1 ? "line was" : "lines were");
    }
    if (run.has_torn_end) {
      html += "<p class=\"note\">The last line of metrics.jsonl is cut short and left out.</p>\n";
    }
    html += "</div>\n";
  }
  return html;
}

std::string render_configs(std::span<const RunLog> runs) {
  std::string html = "<h2>Config</h2>\n";
  for (const RunLog& run : runs) {
    html += fmt::format("<details class=\"panel\"><summary>{}</summary>\n",
                        escape_html((run.dir / "config.yaml").string()));
    html += run.config.empty() ? "<p class=\"note\">Not found, or empty.</p>\n"
                               : "<pre>" + escape_html(run.config) + "</pre>\n";
    if (!run.facts.config_sha256.empty()) {
      html +=
          fmt::format("<p class=\"note\">sha256 {}</p>\n", escape_html(run.facts.config_sha256));
    }
    html += "</details>\n";
  }
  return html;
}

std::string title_of(std::span<const RunLog> runs) {
  std::string title = runs.front().facts.name;
  for (const RunLog& run : runs.subspan(1)) {
    title += ", " + run.facts.name;
  }
  return title;
}

/// Runs of one name are told apart by their directories.
std::vector<RunLog> with_distinct_names(std::span<const RunLog> runs) {
  std::vector<RunLog> named(runs.begin(), runs.end());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto shares_name = [&](const RunLog& other) {
      return other.facts.name == runs[i].facts.name;
    };
    if (std::count_if(runs.begin(), runs.end(), shares_name) > 1) {
      named[i].facts.name = runs[i].dir.string();
    }
  }
  return named;
}

}  // namespace

std::string render_report(std::span<const RunLog> logs) {
  GHOST_CHECK(!logs.empty() && logs.size() <= kMaxReportRuns,
              "report: {} runs; expected 1 to {}, one colour each", logs.size(), kMaxReportRuns);
  const std::vector<RunLog> runs = with_distinct_names(logs);
  const std::string title = escape_html(title_of(runs));
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0} - Ghostgrad report</title>\n<style>{1}</style>\n</head>\n<body>\n<main>\n"
      "<h1>{0}</h1>\n<p class=\"lead\">{2}</p>\n",
      title, kPageStyle,
      runs.size() == 1 ? "Ghostgrad run, " + escape_html(runs.front().dir.string())
                       : fmt::format("{} Ghostgrad runs", runs.size()));
  html += runs.size() == 1 ? render_tiles(runs.front()) : render_comparison(runs);
  html += "<h2>Curves</h2>\n" + render_charts(runs) + render_monitor(runs) + render_protocol(runs) +
          render_events(runs) + render_configs(runs);
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace ghost
