#include "tools/report/memory_bars.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "tools/console/quantity.h"
#include "tools/report/axis.h"
#include "tools/report/html_text.h"
#include "tools/report/line_chart.h"

namespace ghost {
namespace {

constexpr int kNumColors = 8;
constexpr double kWidth = 1140;
constexpr double kLeft = 14;
constexpr double kRight = 24;
constexpr double kBarHeight = 26;
constexpr double kRowHeight = 50;  // the name of the run above its bar
constexpr double kTop = 4;
constexpr double kBottom = 40;

/// Tags of all runs, in the order of first mention; the position is the colour.
std::vector<std::string> tags_of(std::span<const RunLog> runs) {
  std::vector<std::string> tags;
  for (const RunLog& run : runs) {
    for (const TagPeak& entry : run.memory) {
      if (std::find(tags.begin(), tags.end(), entry.tag) == tags.end()) {
        tags.push_back(entry.tag);
      }
    }
  }
  return tags;
}

std::int64_t peak_of(const RunLog& run, const std::string& tag) {
  for (const TagPeak& entry : run.memory) {
    if (entry.tag == tag) {
      return entry.peak_bytes;
    }
  }
  return 0;
}

std::int64_t total_of(const RunLog& run) {
  std::int64_t total = 0;
  for (const TagPeak& entry : run.memory) {
    total += entry.peak_bytes;
  }
  return total;
}

/// The largest binary unit that leaves at least one of it on the axis.
struct Unit {
  double bytes;
  std::string_view name;
};

Unit unit_for(double largest) {
  Unit unit{1, "B"};
  for (const std::string_view name : {"KiB", "MiB", "GiB", "TiB"}) {
    if (largest < 1024 * unit.bytes) {
      break;
    }
    unit = {1024 * unit.bytes, name};
  }
  return unit;
}

std::string draw_bars(std::span<const RunLog> runs, const std::vector<std::string>& tags) {
  std::int64_t longest = 0;
  for (const RunLog& run : runs) {
    longest = std::max(longest, total_of(run));
  }
  const Unit unit = unit_for(static_cast<double>(longest));
  const Axis axis(0, static_cast<double>(longest) / unit.bytes, Scale::kLinear, 8);
  const auto px = [&](std::int64_t bytes) {
    return kLeft +
           axis.position(static_cast<double>(bytes) / unit.bytes) * (kWidth - kLeft - kRight);
  };
  const double base = kTop + kRowHeight * static_cast<double>(runs.size());

  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Peak bytes per tag\">\n",
                  kWidth, base + kBottom);
  for (const Tick& tick : axis.ticks()) {
    const double x = kLeft + axis.position(tick.value) * (kWidth - kLeft - kRight);
    svg +=
        fmt::format(R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)"
                    R"(<text class="tick" x="{0:.1f}" y="{3:.1f}" text-anchor="middle">{4}</text>)"
                    "\n",
                    x, kTop, base + 4, base + 18, escape_html(tick.label));
  }
  svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)"
                     "\n",
                     kWidth / 2, base + 35, unit.name);
  double y = kTop;
  for (const RunLog& run : runs) {
    svg += fmt::format(R"(<text class="name" x="{:.1f}" y="{:.1f}">{}</text>)"
                       "\n",
                       kLeft, y + 13, escape_html(run.facts.name));
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < tags.size(); ++i) {
      const std::int64_t bytes = peak_of(run, tags[i]);
      if (bytes > 0) {
        svg += fmt::format(
            R"(<rect class="c{} part" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}">)"
            "<title>{}: {}</title></rect>\n",
            i % kNumColors, px(begin), y + 19, px(begin + bytes) - px(begin), kBarHeight,
            escape_html(tags[i]), format_bytes(bytes));
      }
      begin += bytes;
    }
    y += kRowHeight;
  }
  return svg + "</svg>\n";
}

std::string render_table(std::span<const RunLog> runs, const std::vector<std::string>& tags) {
  std::string html = "<table class=\"numbers\">\n<thead><tr><th>peak of</th>";
  for (const RunLog& run : runs) {
    html += fmt::format("<th>{}</th><th>share</th>",
                        runs.size() > 1 ? escape_html(run.facts.name) : "bytes");
  }
  html += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < tags.size(); ++i) {
    html +=
        "<tr><td>" + legend_entry(static_cast<int>(i % kNumColors), Mark::kLine, tags[i]) + "</td>";
    for (const RunLog& run : runs) {
      const std::int64_t bytes = peak_of(run, tags[i]);
      const std::int64_t total = total_of(run);
      const double share = total > 0 ? static_cast<double>(bytes) / static_cast<double>(total) : 0;
      html += fmt::format("<td>{}</td><td>{:.1f}%</td>", format_bytes(bytes), 100 * share);
    }
    html += "</tr>\n";
  }
  html += "</tbody>\n<tfoot>\n<tr><td>sum of the peaks</td>";
  for (const RunLog& run : runs) {
    html += fmt::format("<td>{}</td><td></td>", format_bytes(total_of(run)));
  }
  html += "</tr>\n<tr><td>reserved from the system</td>";
  for (const RunLog& run : runs) {
    html += fmt::format("<td>{}</td><td></td>",
                        run.reserved_bytes > 0 ? format_bytes(run.reserved_bytes) : "not logged");
  }
  return html + "</tr>\n</tfoot>\n</table>\n";
}

}  // namespace

std::string render_memory(std::span<const RunLog> runs) {
  std::string html =
      "<figure class=\"wide\">\n<figcaption>Memory <span class=\"unit\">peak bytes per tag</span>"
      "</figcaption>\n";
  const std::vector<std::string> tags = tags_of(runs);
  if (tags.empty()) {
    return html + "<p class=\"note\">Nothing logged.</p>\n</figure>\n";
  }
  html +=
      draw_bars(runs, tags) + "<div class=\"scroll\">\n" + render_table(runs, tags) + "</div>\n";
  return html +
         "<p class=\"note\">Each part is the peak of its own tag. Peaks need not fall together, so "
         "their sum bounds from above what was held at once.</p>\n</figure>\n";
}

}  // namespace ghost
