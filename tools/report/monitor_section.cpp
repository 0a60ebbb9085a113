#include "tools/report/monitor_section.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tools/console/quantity.h"
#include "tools/monitor/alarm_rules.h"
#include "tools/report/chart_frame.h"
#include "tools/report/html_text.h"
#include "tools/report/line_chart.h"

namespace ghost {
namespace {

constexpr int kNumColors = 8;

/// How the curves of kMonitorCurves are drawn.
struct Curve {
  const char* title;
  const char* unit;
  Scale scale;
};
constexpr std::array<Curve, kMonitorCurves.size()> kCurves = {{
    {"Sketch norm z_fro", "||Z||, of activations: no gradient is in it; log scale", Scale::kLog},
    {"Activation norm", "act_norm, of the averaged outputs; log scale", Scale::kLog},
    {"Stable rank of Y", "1 to k, of the averaged outputs", Scale::kLinear},
    {"Gradient norm", "exact, before clipping; log scale", Scale::kLog},
    {"Norm of the mean gradient", "from its sketch; log scale", Scale::kLog},
    {"Signal share", "||EMA G||^2 / EMA ||G||^2; log scale", Scale::kLog},
    {"Cosine with the exact gradient", "of the same batch and weights", Scale::kLinear},
}};

/// Modules of a run in at most eight groups, a colour each: legends of a hundred modules explain
/// nothing. Groups are what is left of a path without its numbers.
class ModuleColors {
 public:
  explicit ModuleColors(const std::vector<std::string>& modules) {
    for (const std::string& module : modules) {
      std::string group;
      for (const char c : module) {
        if (c < '0' || c > '9') {
          group += c;
        } else if (group.empty() || group.back() != '*') {
          group += '*';
        }
      }
      const auto known = std::find(groups_.begin(), groups_.end(), group);
      colors_.push_back(static_cast<int>(known - groups_.begin()) % kNumColors);
      is_first_.push_back(known == groups_.end());
      if (known == groups_.end()) {
        groups_.push_back(group);
      }
    }
  }

  int color(std::size_t module) const { return colors_[module]; }
  /// For the first module of its group.
  std::string label(std::size_t module) const {
    return is_first_[module] ? groups_[static_cast<std::size_t>(group_of(module))] : std::string();
  }

 private:
  int group_of(std::size_t module) const {
    return static_cast<int>(std::count(is_first_.begin(),
                                       is_first_.begin() + static_cast<std::ptrdiff_t>(module) + 1,
                                       true) -
                            1);
  }

  std::vector<std::string> groups_;
  std::vector<int> colors_;
  std::vector<bool> is_first_;
};

std::string render_curve(const RunLog& run, std::size_t metric, const ModuleColors& colors) {
  const Curve& curve = kCurves[metric];
  LineChart chart{.title = curve.title, .unit = curve.unit, .scale = curve.scale};
  const std::vector<std::string>& modules = run.facts.monitor_modules;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    Series series{.label = colors.label(i), .color = colors.color(i), .mark = Mark::kFineLine};
    for (const MonitorPoint& point : run.monitor) {
      if (i < point.values[metric].size()) {
        series.points.push_back({static_cast<double>(point.step), point.values[metric][i]});
      }
    }
    chart.series.push_back(std::move(series));
  }
  return render_line_chart(chart);
}

std::string render_jacobians(const RunLog& run, std::vector<double> MonitorPoint::*norms,
                             const char* title) {
  LineChart chart{
      .title = title, .unit = "largest singular value; log scale", .scale = Scale::kLog};
  std::size_t regions = 0;
  for (const MonitorPoint& point : run.monitor) {
    regions = std::max(regions, (point.*norms).size());
  }
  if (regions == 0) {
    return {};
  }
  for (std::size_t i = 0; i < regions; ++i) {
    Series series{.color = static_cast<int>(i) % kNumColors};
    for (const MonitorPoint& point : run.monitor) {
      if (i < (point.*norms).size()) {
        series.label = fmt::format("region {}", point.first_region + static_cast<std::int64_t>(i));
        series.points.push_back({static_cast<double>(point.step), (point.*norms)[i]});
      }
    }
    chart.series.push_back(std::move(series));
  }
  return render_line_chart(chart);
}

/// One bar: an alarm of one kind in a number of modules.
struct AlarmSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Spans of an alarm by its kind and module, in the order in which they went on.
struct AlarmRow {
  std::string kind;
  std::string module;
  std::vector<AlarmSpan> spans;
};

std::vector<AlarmRow> alarm_rows(const RunLog& run, std::int64_t last_step) {
  std::vector<AlarmRow> rows;
  const auto row_of = [&](const std::string& kind, const std::string& module) -> AlarmRow& {
    const auto known = std::find_if(rows.begin(), rows.end(), [&](const AlarmRow& row) {
      return row.kind == kind && row.module == module;
    });
    return known != rows.end() ? *known : rows.emplace_back(AlarmRow{kind, module, {}});
  };
  for (const RunEvent& event : run.events) {
    for (const std::string& module : event.modules) {
      std::vector<AlarmSpan>& spans = row_of(event.alarm, module).spans;
      if (event.event == "alarm") {
        spans.push_back({event.step, last_step});
      } else if (event.event == "alarm_over" && !spans.empty()) {
        spans.back().end = event.step;
      }
    }
  }
  return rows;
}

int color_of_alarm(const std::string& kind) {
  const auto& names = EnumNames<AlarmKind>::kNames;
  const auto* const found = std::find_if(std::begin(names), std::end(names),
                                         [&](const auto& entry) { return entry.name == kind; });
  return static_cast<int>(found - std::begin(names));
}

/// Bars over steps, a row a module and kind.
std::string render_timeline(const RunLog& run) {
  const std::int64_t last_step = run.train.empty() ? 0 : run.train.back().step;
  const std::vector<AlarmRow> rows = alarm_rows(run, last_step);
  std::string html =
      "<figure class=\"wide\">\n<figcaption>Alarms <span class=\"unit\">by step"
      "</span></figcaption>\n";
  if (rows.empty()) {
    return html + "<p class=\"note\">None went on.</p>\n</figure>\n";
  }
  constexpr std::size_t kMostRows = 40;
  constexpr double kRowHeight = 16;
  const std::size_t drawn = std::min(rows.size(), kMostRows);
  const PlotArea area{
      .width = 1120, .height = 48 + kRowHeight * static_cast<double>(drawn), .left = 330};
  const ChartFrame frame{.x = Axis(0, static_cast<double>(std::max<std::int64_t>(last_step, 1)),
                                   Scale::kLinear, 8, Ends::kData),
                         .y = Axis(0, static_cast<double>(drawn), Scale::kLinear, 1),
                         .area = area};
  html += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Alarms\">\n",
                      area.width, area.height);
  ChartFrame axes = frame;
  axes.y.replace_ticks({});
  html += draw_axes(axes, "step");
  for (std::size_t i = 0; i < drawn; ++i) {
    const double top = area.top + kRowHeight * static_cast<double>(i);
    html += fmt::format(
        "<text class=\"name\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", area.left - 8,
        top + 12, escape_html(fmt::format("{} {}", rows[i].kind, rows[i].module)));
    for (const AlarmSpan& span : rows[i].spans) {
      const double begin = frame.px(static_cast<double>(span.begin));
      const double end = frame.px(static_cast<double>(span.end));
      html += fmt::format(
          "<rect class=\"part c{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"12\"/>\n",
          color_of_alarm(rows[i].kind), begin, top + 2, std::max(3.0, end - begin));
    }
  }
  html += "</svg>\n";
  if (drawn < rows.size()) {
    html +=
        fmt::format("<p class=\"note\">{} more are in metrics.jsonl.</p>\n", rows.size() - drawn);
  }
  return html + "</figure>\n";
}

std::string correlation_cell(double value) {
  return std::isfinite(value) ? fmt::format("<td>{:+.2f}</td>", value)
                              : std::string("<td>\u2013</td>");
}

std::string render_correlations(const RunLog& run) {
  if (run.correlations.empty()) {
    return {};
  }
  std::string html =
      "<details class=\"panel scroll\"><summary>Correlation of proxies with the exact gradient "
      "norm</summary>\n<table class=\"numbers\">\n<thead><tr><th>module</th>";
  for (const ProxyCorrelation& of : run.correlations) {
    html += fmt::format("<th>{}</th>", escape_html(of.proxy));
  }
  html += "</tr></thead>\n<tbody>\n<tr><td>all together</td>";
  for (const ProxyCorrelation& of : run.correlations) {
    html += correlation_cell(of.overall);
  }
  html += "</tr>\n";
  for (std::size_t i = 0; i < run.facts.monitor_modules.size(); ++i) {
    html += fmt::format("<tr><td>{}</td>", escape_html(run.facts.monitor_modules[i]));
    for (const ProxyCorrelation& of : run.correlations) {
      html += i < of.modules.size() ? correlation_cell(of.modules[i]) : "<td></td>";
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n</details>\n";
}

std::string render_run(const RunLog& run, bool is_one) {
  const ModuleColors colors(run.facts.monitor_modules);
  std::string html = is_one ? "" : fmt::format("<h3>{}</h3>\n", escape_html(run.facts.name));
  html += fmt::format(
      "<p class=\"note\">{} linears, {} of state at any step.</p>\n<div class=\"charts\">\n",
      run.facts.monitor_modules.size(),
      run.facts.monitor_bytes > 0 ? format_bytes(std::llround(run.facts.monitor_bytes)) : "?");
  html += render_timeline(run);
  const bool has_cosines = !run.monitor.front().values[kExactCosine].empty();
  for (std::size_t metric = 0; metric < kCurves.size(); ++metric) {
    html += metric == kExactCosine && !has_cosines ? "" : render_curve(run, metric, colors);
  }
  html += render_jacobians(run, &MonitorPoint::jacobian_local, "Jacobians of regions");
  html += render_jacobians(run, &MonitorPoint::jacobian_suffix, "Their suffix products");
  return html + "</div>\n" + render_correlations(run);
}

}  // namespace

std::string render_monitor(std::span<const RunLog> runs) {
  std::string html;
  for (const RunLog& run : runs) {
    if (!run.monitor.empty()) {
      html += render_run(run, runs.size() == 1);
    }
  }
  return html.empty() ? html : "<h2>Monitor</h2>\n" + html;
}

}  // namespace ghost
