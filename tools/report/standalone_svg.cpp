#include "tools/report/standalone_svg.h"

#include <string_view>

#include <fmt/format.h>

#include "tools/report/chart_frame.h"
#include "tools/report/html_text.h"

namespace ghost {
namespace {

// The colours and lines of the report's light scheme.
constexpr std::string_view kStyle = R"css(
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1b1f24}
.title{font-size:15px;font-weight:600}.unit{font-size:12.5px;font-weight:400;fill:#5b6570}
.tick{font-size:11.5px;fill:#5b6570}.name{font-size:12px}
.grid{stroke:#dfe3e7}.axis{stroke:#5b6570}.event{stroke:#5b6570;stroke-dasharray:2 3}
path{fill:none;stroke:currentColor;stroke-linejoin:round;stroke-linecap:round}
.line{stroke-width:2}.joined{stroke-width:1.4}.fine{stroke-width:1.1}.faint{stroke-width:1;opacity:.33}
.dashed{stroke-dasharray:5 4}
.points{fill:currentColor;stroke:#fff}
.front{fill:currentColor;stroke:currentColor;stroke-width:1.6}
.behind{fill:#fff;stroke:currentColor;stroke-width:1.6}
.c0{color:#2a6fdb}.c1{color:#d9622b}.c2{color:#12876b}.c3{color:#b07d00}
.c4{color:#7a52c7}.c5{color:#c2407c}.c6{color:#4f8a1f}.c7{color:#6b7480}
)css";

constexpr double kMargin = 16;
constexpr double kTitleHeight = 32;
constexpr double kRowHeight = 19;
constexpr double kLetterWidth = 7.4;  // of a name, on the wide side: viewers choose the font

struct Legend {
  std::string drawing;
  double height = 0;
};

Legend draw_legend(const std::vector<LegendEntry>& entries, double width) {
  Legend legend;
  double x = 0;
  double y = kRowHeight / 2;
  for (const LegendEntry& entry : entries) {
    const double needed = 22 + kLetterWidth * static_cast<double>(entry.label.size()) + 18;
    if (x > 0 && x + needed > width) {
      x = 0;
      y += kRowHeight;
    }
    legend.drawing += fmt::format(
        R"(<path class="line {}" d="M{:.1f} {:.1f}h16"/><text class="name" x="{:.1f}" y="{:.1f}">{}</text>)"
        "\n",
        escape_html(entry.style), x, y, x + 22, y + 4, escape_html(entry.label));
    x += needed;
  }
  legend.height = entries.empty() ? 0 : y + kRowHeight / 2 + 4;
  return legend;
}

}  // namespace

std::string render(const StandaloneSvg& svg) {
  const double width = kFileArea.width + 2 * kMargin;
  const Legend legend = draw_legend(svg.legend, kFileArea.width);
  const double top = kMargin + kTitleHeight + legend.height;
  const double height = top + kFileArea.height + kMargin;
  return fmt::format(
      R"svg(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">
<title>{2}</title>
<style>{3}</style>
<rect width="{0}" height="{1}" fill="#fff"/>
<text class="title" x="{4}" y="{5}">{2} <tspan class="unit" dx="6">{6}</tspan></text>
<g transform="translate({4} {7})">
{8}</g>
<g transform="translate({4} {9})">
{10}</g>
</svg>
)svg",
      width, height, escape_html(svg.title), kStyle, kMargin, kMargin + 14, escape_html(svg.unit),
      kMargin + kTitleHeight, legend.drawing, top, svg.drawing);
}

}  // namespace ghost
