#include "tools/report/scatter_chart.h"

#include <cmath>

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

TEST_CASE("a scatter chart counts what has no place on it", "[tools]") {
  const std::string svg = render_scatter_chart_file(
      {.title = "t", .points = {{"a", 0, 1}, {"b", 4096, std::nan("")}, {"c", 4096, 1}}});
  CHECK(count(svg, "<circle") == 1);
  CHECK_THAT(svg, contains_text("2 of 3 points not drawn: no bytes or no loss"));
  CHECK(count(render_scatter_chart_file({.title = "t"}), "<circle") == 0);
}

}  // namespace
}  // namespace ghost
