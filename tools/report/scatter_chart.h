#pragma once

#include <string>
#include <vector>

namespace ghost {

struct ScatterPoint {
  std::string label;
  double x = 0;
  double y = 0;
  bool is_filled = false;
};

struct ScatterChart {
  std::string title{};
  std::string unit{};
  std::string x_label{};
  std::vector<ScatterPoint> points{};
};

/// Labelled points over a log axis of bytes, as an SVG file. Labels keep clear of each other and of
/// the points where they can; of more than 24 points the filled ones alone have labels, the others
/// show theirs to the pointer. Points without a finite y or with x <= 0 are counted in a note.
std::string render_scatter_chart_file(const ScatterChart& chart);

}  // namespace ghost
