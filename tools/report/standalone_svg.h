#pragma once

#include <string>
#include <vector>

namespace ghost {

struct LegendEntry {
  std::string label;
  std::string style;  // classes of its line
};

/// A drawing of the size kFileArea with what a page would put around it.
struct StandaloneSvg {
  std::string title{};
  std::string unit{};  // beside the title
  std::vector<LegendEntry> legend{};
  std::string drawing{};  // SVG elements
};

/// An SVG file: light, with its own style sheet, title and legend above the drawing.
std::string render(const StandaloneSvg& svg);

}  // namespace ghost
