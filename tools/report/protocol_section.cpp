#include "tools/report/protocol_section.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tools/console/quantity.h"
#include "tools/eval/protocol_text.h"
#include "tools/report/html_text.h"
#include "tools/report/line_chart.h"

namespace ghost {
namespace {

std::string estimate_text(const Estimate& estimate) {
  if (!std::isfinite(estimate.mean)) {
    return "\u2013";
  }
  return std::isfinite(estimate.standard_error)
             ? fmt::format("{:.4f} \u00b1 {:.4f}", estimate.mean, estimate.standard_error)
             : fmt::format("{:.4f}", estimate.mean);
}

std::string estimate_cell(const std::optional<Estimate>& estimate) {
  return fmt::format("<td>{}</td>", estimate.has_value() ? estimate_text(*estimate) : "\u2013");
}

std::string render_scores(const ProtocolResult& result) {
  const bool has_baseline = !result.baseline.empty();
  std::string html = fmt::format(
      "<table>\n<thead><tr><th>score</th><th>nats, mean \u00b1 standard error</th>{}"
      "<th>tokens</th><th></th></tr></thead>\n<tbody>\n",
      has_baseline ? "<th>baseline</th><th>difference</th>" : "");
  for (const ProtocolScore& score : result.scores) {
    html += fmt::format("<tr><td>{}</td>{}", escape_html(score.name), estimate_cell(score.nats));
    if (has_baseline) {
      html += estimate_cell(score.baseline) + estimate_cell(score.difference);
    }
    html += fmt::format("<td>{}</td><td>{}</td></tr>\n", format_count(score.tokens),
                        escape_html(score.label));
  }
  return html + "</tbody>\n</table>\n";
}

std::string render_run(const RunLog& run) {
  const ProtocolResult& result = *run.protocol;
  std::string html = fmt::format("<div class=\"panel scroll\">\n<b>{}</b>\n<p class=\"note\">",
                                 escape_html(run.facts.name));
  if (!result.variant.empty()) {
    html += fmt::format("Regions: {}. ", escape_html(variant_text(result)));
  }
  html += fmt::format("{} windows of {} tokens, step {}.", format_count(result.windows),
                      format_count(result.seq_len), format_count(result.step));
  if (!result.baseline.empty()) {
    html += fmt::format(" Baseline: {}.", escape_html(result.baseline));
  }
  html += "</p>\n";
  if (!result.scores.empty()) {
    html += render_scores(result);
  }
  if (result.flip.has_value()) {
    html += fmt::format("<p class=\"note\">Largest change of a logit by a later token: {}.</p>\n",
                        escape_html(flip_text(*result.flip)));
  }
  return html + "</div>\n";
}

/// A colour a curve for one run; for several, a colour a run, and fine lines for what is not tf.
LineChart position_chart(std::span<const RunLog> runs) {
  LineChart chart{.title = "Loss by position", .unit = "nats per token", .x_label = "position"};
  const bool is_one = runs.size() == 1;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    if (!runs[run].protocol.has_value()) {
      continue;
    }
    const std::vector<PositionCurve>& curves = runs[run].protocol->curves;
    for (std::size_t i = 0; i < curves.size(); ++i) {
      Series series{.label = is_one ? curves[i].name
                                    : fmt::format("{}, {}", curves[i].name, runs[run].facts.name),
                    .color = static_cast<int>(is_one ? i : run),
                    .mark = is_one || i == 0 ? Mark::kLine : Mark::kFineLine};
      for (std::size_t t = 0; t < curves[i].nats.size(); ++t) {
        if (std::isfinite(curves[i].nats[t])) {  // the others are not scored
          series.points.push_back({static_cast<double>(t), curves[i].nats[t]});
        }
      }
      chart.series.push_back(std::move(series));
    }
  }
  return chart;
}

}  // namespace

std::string render_protocol(std::span<const RunLog> runs) {
  const bool has_any = std::any_of(runs.begin(), runs.end(),
                                   [](const RunLog& run) { return run.protocol.has_value(); });
  if (!has_any) {
    return {};
  }
  std::string html = "<h2>Evaluation protocol</h2>\n";
  for (const RunLog& run : runs) {
    html += run.protocol.has_value() ? render_run(run) : "";
  }
  const LineChart chart = position_chart(runs);
  return chart.series.empty()
             ? html
             : html + "<div class=\"charts\">\n" + render_line_chart(chart) + "</div>\n";
}

}  // namespace ghost
