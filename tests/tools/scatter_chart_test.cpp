#include "tools/report/scatter_chart.h"

#include <cmath>

#include <fmt/format.h>

#include "tests/support/catch.h"

namespace ghost {
namespace {

using test::contains_text;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST_CASE("a scatter chart draws and labels every point", "[tools]") {
  const std::string svg = render_scatter_chart_file(
      {.title = "A & B",
       .x_label = "bytes",
       .points = {{"one", 1 << 20, 2.0, true}, {"two", 1 << 22, 1.5, false}}});
  CHECK(count(svg, "<circle") == 2);
  CHECK(count(svg, "front\" cx") == 1);
  CHECK_THAT(svg, contains_text(">one</text>"));
  CHECK_THAT(svg, contains_text("A &amp; B"));
  CHECK_THAT(svg, contains_text(">2.0 MiB</text>"));
}

TEST_CASE("of many points a scatter chart labels the filled ones", "[tools]") {
  ScatterChart chart{.title = "t"};
  for (int i = 0; i < 25; ++i) {
    chart.points.push_back({fmt::format("p{}", i), 4096.0 + i, 1.0 + i, i % 5 == 0});
  }
  const std::string svg = render_scatter_chart_file(chart);
  CHECK(count(svg, "<circle") == 25);
  CHECK(count(svg, "</title></circle>") == 25);
  CHECK(count(svg, "class=\"name\"") == 5);
  CHECK_THAT(svg, contains_text(">p5</text>"));
  chart.points.pop_back();
  CHECK(count(render_scatter_chart_file(chart), "class=\"name\"") == 24);
}

TEST_CASE("a scatter chart counts what has no place on it", "[tools]") {
  const std::string svg = render_scatter_chart_file(
      {.title = "t", .points = {{"a", 0, 1}, {"b", 4096, std::nan("")}, {"c", 4096, 1}}});
  CHECK(count(svg, "<circle") == 1);
  CHECK_THAT(svg, contains_text("2 of 3 points not drawn: no bytes or no loss"));
  CHECK(count(render_scatter_chart_file({.title = "t"}), "<circle") == 0);
}

}  // namespace
}  // namespace ghost
