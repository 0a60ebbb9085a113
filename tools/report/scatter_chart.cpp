#include "tools/report/scatter_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "tools/console/quantity.h"
#include "tools/report/chart_frame.h"
#include "tools/report/html_text.h"
#include "tools/report/standalone_svg.h"

namespace ghost {
namespace {

constexpr int kNumColors = 8;
constexpr double kRadius = 5;
constexpr double kLetterWidth = 7;
constexpr double kTextHeight = 14;
constexpr std::size_t kMostLabels = 24;  // with more points, only filled ones have room

struct Box {
  double left;
  double right;
  double top;
  double bottom;
};

struct LabelPlace {
  Box box;  // on the wide side: viewers choose the font
  double x;
  const char* anchor;  // of the text at x
};

double overlap(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

Box box_around(double x, double y) {
  return {.left = x - kRadius, .right = x + kRadius, .top = y - kRadius, .bottom = y + kRadius};
}

/// Right of, left of, above and below the point.
std::array<LabelPlace, 4> label_places(double x, double y, double width) {
  constexpr double kGap = kRadius + 4;
  const auto box = [width](double left, double top) {
    return Box{.left = left, .right = left + width, .top = top, .bottom = top + kTextHeight};
  };
  return {LabelPlace{box(x + kGap, y - kTextHeight / 2), x + kGap, "start"},
          LabelPlace{box(x - kGap - width, y - kTextHeight / 2), x - kGap, "end"},
          LabelPlace{box(x - width / 2, y - kGap - kTextHeight), x, "middle"},
          LabelPlace{box(x - width / 2, y + kGap), x, "middle"}};
}

double outside(const Box& box, const PlotArea& area) {
  const Box page{
      .left = area.left, .right = area.width, .top = 0, .bottom = area.height - area.bottom};
  return (box.right - box.left) * kTextHeight - overlap(box, page);
}

bool is_drawable(const ScatterPoint& point) {
  return std::isfinite(point.y) && std::isfinite(point.x) && point.x > 0;
}

/// An axis of bytes: a tick at powers of two, as bytes are written.
std::vector<Tick> byte_ticks(double low, double high) {
  std::vector<Tick> ticks;
  const double octaves = std::log2(high / low);
  const int stride = octaves > 14 ? 4 : octaves > 6 ? 2 : 1;
  for (int power = static_cast<int>(std::ceil(std::log2(low))); std::exp2(power) <= high; ++power) {
    if (power % stride == 0) {
      ticks.push_back(
          {std::exp2(power), format_bytes(static_cast<std::int64_t>(std::exp2(power)))});
    }
  }
  return ticks;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void cover(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string draw_points(const ScatterChart& chart, const ChartFrame& frame) {
  std::vector<Box> taken;
  for (const ScatterPoint& point : chart.points) {
    if (is_drawable(point)) {
      taken.push_back(box_around(frame.px(point.x), frame.py(point.y)));
    }
  }
  std::string svg;
  for (std::size_t i = 0; i < chart.points.size(); ++i) {
    const ScatterPoint& point = chart.points[i];
    if (!is_drawable(point)) {
      continue;
    }
    const double x = frame.px(point.x);
    const double y = frame.py(point.y);
    svg += fmt::format(R"(<circle class="c{} {}" cx="{:.1f}" cy="{:.1f}" r="{}">)"
                       "<title>{}</title></circle>\n",
                       i % kNumColors, point.is_filled ? "front" : "behind", x, y, kRadius,
                       escape_html(point.label));
    if (chart.points.size() > kMostLabels && !point.is_filled) {
      continue;
    }
    const auto places = label_places(x, y, kLetterWidth * static_cast<double>(point.label.size()));
    const auto cost = [&](const LabelPlace& place) {
      double sum = 4 * outside(place.box, frame.area);
      for (const Box& box : taken) {
        sum += overlap(place.box, box);
      }
      return sum;
    };
    const LabelPlace& best = *std::min_element(
        places.begin(), places.end(),
        [&](const LabelPlace& a, const LabelPlace& b) { return cost(a) < cost(b); });
    taken.push_back(best.box);
    svg += fmt::format(R"(<text class="name" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)"
                       "\n",
                       best.x, best.box.bottom - 3, best.anchor, escape_html(point.label));
  }
  return svg;
}

}  // namespace

std::string render_scatter_chart_file(const ScatterChart& chart) {
  StandaloneSvg svg{.title = chart.title, .unit = chart.unit};
  Range x;
  Range y;
  std::int64_t num_undrawable = 0;
  for (const ScatterPoint& point : chart.points) {
    if (is_drawable(point)) {
      x.cover(point.x);
      y.cover(point.y);
    } else {
      ++num_undrawable;
    }
  }
  if (num_undrawable > 0) {
    svg.unit += fmt::format("{}{} of {} points not drawn: no bytes or no loss",
                            svg.unit.empty() ? "" : "; ", num_undrawable, chart.points.size());
  }
  if (!(x.high >= x.low)) {
    return render(svg);
  }
  // Room for markers and labels at the ends, and at least two ticks.
  const double margin = std::max(1.3, std::pow(4.0 * x.low / x.high, 0.5));
  ChartFrame frame{.x = Axis(x.low / margin, x.high * margin, Scale::kLog, 6),
                   .y = Axis(y.low, y.high, Scale::kLinear, 6),
                   .area = kFileArea};
  frame.x.replace_ticks(byte_ticks(frame.x.low(), frame.x.high()));
  svg.drawing = draw_axes(frame, chart.x_label) + draw_points(chart, frame);
  return render(svg);
}

}  // namespace ghost
