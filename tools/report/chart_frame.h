#pragma once

#include <string>

#include "tools/report/axis.h"

namespace ghost {

/// A drawing's size and the margins of its axes, in SVG user units: about CSS pixels in the two
/// columns of a report.
struct PlotArea {
  double width = 560;
  double height = 250;
  double left = 52;
  double right = 14;
  double top = 10;
  double bottom = 38;
};

/// Of a chart in a file of its own.
inline constexpr PlotArea kFileArea{.width = 760, .height = 420, .right = 24};

/// Two axes and where they lie.
struct ChartFrame {
  Axis x;
  Axis y;
  PlotArea area{};

  double px(double value) const {
    return area.left + x.position(value) * (area.width - area.left - area.right);
  }
  double py(double value) const {
    return area.height - area.bottom - y.position(value) * (area.height - area.top - area.bottom);
  }
};

/// Grid, base line, ticks and the label of x, as SVG elements.
std::string draw_axes(const ChartFrame& frame, const std::string& x_label);

}  // namespace ghost
