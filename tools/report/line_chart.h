#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/report/axis.h"

namespace ghost {

struct ChartPoint {
  double x = 0;
  double y = 0;  // NaN breaks a line
};

/// kFaintLine is what a bold line smooths; kFineLine is for dense, spiky curves without one.
enum class Mark { kLine, kFineLine, kFaintLine, kPoints };

/// One curve. `color` is the index of a colour of the page, 0 to 7; beyond, in a file of its own,
/// the same again with dashes.
struct Series {
  std::string label{};  // empty: not in the legend
  int color = 0;
  Mark mark = Mark::kLine;
  std::vector<ChartPoint> points{};  // ascending x
};

struct LineChart {
  std::string title{};
  std::string unit{};  // of y, and what else the reader of the axis must know
  std::string x_label = "step";
  Scale scale = Scale::kLinear;
  std::optional<double> y_low{};  // the axis begins here at the latest; for rates and times: 0
  bool clips_outliers = false;    // a few values far above the rest do not stretch the axis
  std::vector<Series> series{};
  std::vector<double> events{};  // x of dashed verticals: resumes, values that are not finite
};

/// The chart as an HTML <figure> with an inline <svg>: caption, legend where more than one series
/// is named, axes with round ticks. What cannot be drawn (values that are not finite, values of 0
/// or less on a log axis, clipped outliers) is counted in a note below. A chart with nothing to
/// draw says so.
std::string render_line_chart(const LineChart& chart);

/// The chart as an SVG file that needs no page around it, with its title and legend.
std::string render_line_chart_file(const LineChart& chart);

/// At most two points of each of `num_buckets` equal ranges of x, the lowest and the highest, so
/// that no spike is lost. Fewer points come back unchanged.
std::vector<ChartPoint> thin_out(const std::vector<ChartPoint>& points, std::size_t num_buckets);

/// Mean over each point and up to `half_width` points on either side; values that are not finite
/// are left out. At the start the window shrinks symmetrically, so the steep first fall is not
/// averaged away.
std::vector<ChartPoint> smooth(const std::vector<ChartPoint>& points, std::size_t half_width);

/// `<span class="swatch c3"></span>label`, as every legend of the page has it.
std::string legend_entry(int color, Mark mark, const std::string& label);

}  // namespace ghost
