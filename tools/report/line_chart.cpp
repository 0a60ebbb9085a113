#include "tools/report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include "tools/console/quantity.h"
#include "tools/report/chart_frame.h"
#include "tools/report/html_text.h"
#include "tools/report/standalone_svg.h"

namespace ghost {
namespace {

constexpr int kNumColors = 8;
constexpr std::size_t kBuckets = 500;  // about one a pixel

/// What the axes must cover, and what they cannot.
struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double x_high = 0;
  double x_low = std::numeric_limits<double>::infinity();
  std::int64_t num_undrawable = 0;
  std::int64_t num_clipped = 0;
  double largest = 0;

  bool is_empty() const { return !(high >= low); }
};

bool is_drawable(double y, Scale scale) {
  return std::isfinite(y) && (scale == Scale::kLinear || y > 0);
}

Extent measure(const LineChart& chart) {
  Extent extent;
  std::vector<double> values;
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (!is_drawable(point.y, chart.scale)) {
        // A smoothed copy is finite wherever its window holds one value: the gaps are the curve's.
        ++extent.num_undrawable;
        continue;
      }
      extent.low = std::min(extent.low, point.y);
      extent.high = std::max(extent.high, point.y);
      extent.x_low = std::min(extent.x_low, point.x);
      extent.x_high = std::max(extent.x_high, point.x);
      values.push_back(point.y);
    }
  }
  extent.largest = extent.high;
  if (chart.clips_outliers && values.size() >= 20) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() * 98 / 100);
    std::nth_element(values.begin(), at, values.end());
    const double limit = 1.25 * *at;
    if (extent.high > 1.6 * limit) {
      extent.high = limit;
      extent.num_clipped =
          std::count_if(values.begin(), values.end(), [limit](double v) { return v > limit; });
    }
  }
  if (chart.y_low) {
    extent.low = std::min(extent.low, *chart.y_low);
  }
  return extent;
}

std::string draw_points(const Series& series, const ChartFrame& frame, Scale scale) {
  std::string svg;
  for (const ChartPoint& point : series.points) {
    if (is_drawable(point.y, scale) && point.y <= frame.y.high()) {
      svg += fmt::format(
          R"(<circle class="c{} points" cx="{:.1f}" cy="{:.1f}" r="3.2"><title>{}</title></circle>)"
          "\n",
          series.color % kNumColors, frame.px(point.x), frame.py(point.y),
          escape_html(fmt::format("{}: {:.4f} at {}", series.label, point.y,
                                  format_count(std::llround(point.x)))));
    }
  }
  return svg;
}

std::string draw_line(const Series& series, const ChartFrame& frame, Scale scale,
                      const char* width) {
  std::string path;
  bool is_open = false;
  for (const ChartPoint& point : thin_out(series.points, kBuckets)) {
    if (!is_drawable(point.y, scale)) {
      is_open = false;
      continue;
    }
    path +=
        fmt::format("{}{:.1f} {:.1f}", is_open ? "L" : "M", frame.px(point.x), frame.py(point.y));
    is_open = true;
  }
  return fmt::format(R"(<path class="c{} {}{}" d="{}"/>)"
                     "\n",
                     series.color % kNumColors, width, series.color < kNumColors ? "" : " dashed",
                     path);
}

std::string draw_series(const Series& series, const ChartFrame& frame, Scale scale) {
  switch (series.mark) {
    case Mark::kPoints: {
      const std::string line = draw_line(series, frame, scale, "joined");
      return line + draw_points(series, frame, scale);
    }
    case Mark::kFaintLine:
      return draw_line(series, frame, scale, "faint");
    case Mark::kFineLine:
      return draw_line(series, frame, scale, "fine");
    case Mark::kLine:
      return draw_line(series, frame, scale, "line");
  }
  return {};
}

std::string render_legend(const LineChart& chart) {
  const auto is_named = [](const Series& series) { return !series.label.empty(); };
  if (std::count_if(chart.series.begin(), chart.series.end(), is_named) < 2) {
    return {};
  }
  std::string html = "<div class=\"legend\">";
  for (const Series& series : chart.series) {
    if (is_named(series)) {
      html += legend_entry(series.color, series.mark, series.label);
    }
  }
  return html + "</div>\n";
}

/// A title as an element id: letters and digits, the rest as hyphens.
std::string element_id(std::string title) {
  for (char& c : title) {
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    c = is_plain ? c : '-';
  }
  return title;
}

std::string render_notes(const LineChart& chart, const Extent& extent) {
  std::string notes;
  if (extent.num_undrawable > 0) {
    notes += fmt::format(
        "<p class=\"note\">{} {} not drawn: {}.</p>\n", format_count(extent.num_undrawable),
        extent.num_undrawable == 1 ? "value" : "values",
        chart.scale == Scale::kLog ? "not finite, or not positive on a log axis" : "not finite");
  }
  if (!chart.events.empty()) {
    notes += "<p class=\"note\">Dashed: a resume or a value that is not finite; see Events.</p>\n";
  }
  if (extent.num_clipped > 0) {
    notes += fmt::format("<p class=\"note\">{} {} above the axis; the largest is {}.</p>\n",
                         format_count(extent.num_clipped),
                         extent.num_clipped == 1 ? "value lies" : "values lie",
                         format_short(extent.largest));
  }
  return notes;
}

ChartFrame frame_of(const LineChart& chart, const Extent& extent, const PlotArea& area) {
  // Steps begin at 0 unless the log begins late; then an empty left half would only mislead.
  const double x_low = extent.x_low <= 0.2 * extent.x_high ? 0 : extent.x_low;
  return {.x = Axis(x_low, extent.x_high, Scale::kLinear, 6, Ends::kData),
          .y = Axis(extent.low, extent.high, chart.scale, 5),
          .area = area};
}

/// Axes, events and curves.
std::string draw_chart(const LineChart& chart, const ChartFrame& frame) {
  const PlotArea& area = frame.area;
  const std::string clip = "clip-" + element_id(chart.title);
  std::string svg = fmt::format(
      "<clipPath id=\"{}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n", clip,
      area.left, area.top - 4, area.width - area.left - area.right + 4,
      area.height - area.top - area.bottom + 8);
  svg += draw_axes(frame, chart.x_label);
  for (const double event : chart.events) {
    svg +=
        fmt::format(R"(<line class="event" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)"
                    "\n",
                    frame.px(event), area.top, area.height - area.bottom);
  }
  svg += fmt::format("<g clip-path=\"url(#{})\">\n", clip);
  for (const Series& series : chart.series) {
    svg += draw_series(series, frame, chart.scale);
  }
  return svg + "</g>\n";
}

}  // namespace

std::string legend_entry(int color, Mark mark, const std::string& label) {
  const char* kind = mark == Mark::kPoints ? "dot" : "bar";
  return fmt::format(R"(<span class="key"><span class="swatch {} c{}"></span>{}</span>)", kind,
                     color, escape_html(label));
}

std::vector<ChartPoint> thin_out(const std::vector<ChartPoint>& points, std::size_t num_buckets) {
  if (points.size() <= 2 * num_buckets) {
    return points;
  }
  const double x0 = points.front().x;
  const double width = (points.back().x - x0) / static_cast<double>(num_buckets);
  std::vector<ChartPoint> kept;
  for (std::size_t begin = 0; begin < points.size();) {
    const double limit = x0 + (std::floor((points[begin].x - x0) / width) + 1) * width;
    std::size_t low = begin;
    std::size_t high = begin;
    std::size_t end = begin;
    for (; end < points.size() && (end == begin || points[end].x < limit); ++end) {
      // NaN loses every comparison: it survives only where the first point of a bucket is NaN.
      low = points[end].y < points[low].y || std::isnan(points[low].y) ? end : low;
      high = points[end].y > points[high].y || std::isnan(points[high].y) ? end : high;
    }
    kept.push_back(points[std::min(low, high)]);
    if (low != high) {
      kept.push_back(points[std::max(low, high)]);
    }
    begin = end;
  }
  return kept;
}

std::vector<ChartPoint> smooth(const std::vector<ChartPoint>& points, std::size_t half_width) {
  // Running sums: the window of a long run is long too.
  std::vector<double> sums = {0};
  std::vector<std::size_t> counts = {0};
  for (const ChartPoint& point : points) {
    const bool counted = std::isfinite(point.y);
    sums.push_back(sums.back() + (counted ? point.y : 0));
    counts.push_back(counts.back() + (counted ? 1 : 0));
  }
  std::vector<ChartPoint> smoothed;
  smoothed.reserve(points.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::size_t reach = std::min(half_width, i);
    const std::size_t begin = i - reach;
    const std::size_t end = std::min(i + reach + 1, points.size());
    const std::size_t count = counts[end] - counts[begin];
    smoothed.push_back({points[i].x, count > 0
                                         ? (sums[end] - sums[begin]) / static_cast<double>(count)
                                         : std::numeric_limits<double>::quiet_NaN()});
  }
  return smoothed;
}

std::string render_line_chart(const LineChart& chart) {
  std::string html =
      fmt::format("<figure>\n<figcaption>{} <span class=\"unit\">{}</span></figcaption>\n",
                  escape_html(chart.title), escape_html(chart.unit));
  const Extent extent = measure(chart);
  if (extent.is_empty()) {
    return html + "<p class=\"note\">Nothing logged.</p>\n" + render_notes(chart, extent) +
           "</figure>\n";
  }
  const ChartFrame frame = frame_of(chart, extent, PlotArea{});
  html += render_legend(chart);
  html += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                      frame.area.width, frame.area.height, escape_html(chart.title));
  return html + draw_chart(chart, frame) + "</svg>\n" + render_notes(chart, extent) + "</figure>\n";
}

std::string render_line_chart_file(const LineChart& chart) {
  StandaloneSvg svg{.title = chart.title, .unit = chart.unit};
  const Extent extent = measure(chart);
  if (extent.is_empty()) {
    svg.unit = "nothing logged";
    return render(svg);
  }
  const ChartFrame frame = frame_of(chart, extent, kFileArea);
  for (const Series& series : chart.series) {
    if (!series.label.empty()) {
      svg.legend.push_back({series.label, fmt::format("c{}{}", series.color % kNumColors,
                                                      series.color < kNumColors ? "" : " dashed")});
    }
  }
  svg.drawing = draw_chart(chart, frame);
  return render(svg);
}

}  // namespace ghost
