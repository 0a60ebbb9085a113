#include "tools/report/chart_frame.h"

#include <fmt/format.h>

#include "tools/report/html_text.h"

namespace ghost {

std::string draw_axes(const ChartFrame& frame, const std::string& x_label) {
  const PlotArea& area = frame.area;
  std::string svg;
  for (const Tick& tick : frame.y.ticks()) {
    const double y = frame.py(tick.value);
    svg += fmt::format(R"(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)"
                       R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)"
                       "\n",
                       area.left, area.width - area.right, y, y, area.left - 7, y + 3.5,
                       escape_html(tick.label));
  }
  const double base = area.height - area.bottom;
  for (const Tick& tick : frame.x.ticks()) {
    const double x = frame.px(tick.value);
    svg += fmt::format(R"(<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)"
                       R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)"
                       "\n",
                       x, x, base, base + 4, x, base + 16, escape_html(tick.label));
  }
  svg +=
      fmt::format(R"(<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)"
                  R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)"
                  "\n",
                  area.left, area.width - area.right, base, base,
                  (area.left + area.width - area.right) / 2, area.height - 4, escape_html(x_label));
  return svg;
}

}  // namespace ghost
