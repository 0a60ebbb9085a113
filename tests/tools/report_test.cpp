#include "tools/report/report.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/core/error.h"
#include "engine/io/file.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"
#include "tools/report/axis.h"
#include "tools/report/command.h"
#include "tools/report/html_text.h"
#include "tools/report/line_chart.h"

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RunLog example_run(const std::string& name, double tokens_per_step = 64) {
  RunLog log;
  log.dir = "runs/" + name;
  log.facts = {.name = name,
               .model = "gpt",
               .device = "cpu",
               .dtype = "f32",
               .peak_source = "",
               .config_sha256 = "",
               .loss_label = "",
               .parameters = 1e6,
               .flops_per_token = 6e6,
               .peak_flops = kNan,
               .threads = 2,
               .tokens_per_step = tokens_per_step,
               .steps = 400};
  for (std::int64_t step = 1; step <= 400; ++step) {
    const auto x = static_cast<double>(step);
    log.train.push_back({.step = step,
                         .loss = 4 / std::sqrt(x),
                         .lr = 1e-3,
                         .grad_norm = 1 / x,
                         .ms_per_step = 20,
                         .tokens_per_s = 3200,
                         .mfu = kNan,
                         .tokens = x * tokens_per_step});
  }
  log.evals = {{.step = 200, .val_loss = 0.5, .train_loss = kNan},
               {.step = 400, .val_loss = 0.6, .train_loss = kNan}};
  log.memory = {{.tag = "parameters", .peak_bytes = 4 << 20},
                {.tag = "residuals", .peak_bytes = 12 << 20}};
  log.config = "model:\n  kind: gpt\n";
  return log;
}

std::string report_of(const std::vector<RunLog>& runs) { return render_report(runs); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> all;
  for (const Tick& tick : axis.ticks()) {
    all.push_back(tick.label);
  }
  return all;
}

using Labels = std::vector<std::string>;

TEST_CASE("linear axes end at round ticks", "[report]") {
  const Axis loss(1.13, 4.87, Scale::kLinear, 5);
  CHECK(labels(loss) == Labels{"1", "2", "3", "4", "5"});
  CHECK(loss.position(1) == 0);
  CHECK(loss.position(3) == Approx(0.5));
  CHECK(loss.position(5) == 1);
  CHECK(labels(Axis(0, 1e-3, Scale::kLinear, 5)) ==
        Labels{"0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"});
  CHECK(labels(Axis(1.21, 1.34, Scale::kLinear, 3)) == Labels{"1.20", "1.25", "1.30", "1.35"});
  CHECK(labels(Axis(0, 24000, Scale::kLinear, 5)) == Labels{"0", "5k", "10k", "15k", "20k", "25k"});
}

TEST_CASE("axes of counts end at the data and have whole ticks", "[report]") {
  const Axis steps(0, 612, Scale::kLinear, 6, Ends::kData);
  CHECK(labels(steps) == Labels{"0", "200", "400", "600"});
  CHECK(steps.high() == 612);
  CHECK(labels(Axis(4, 7, Scale::kLinear, 6, Ends::kData)) == Labels{"4", "5", "6", "7"});
  CHECK(labels(Axis(0, 2000, Scale::kLinear, 4, Ends::kData)) ==
        Labels{"0", "500", "1,000", "1,500", "2,000"});
}

TEST_CASE("log axes have ticks of 1, 2, 5, or decades where there is no room", "[report]") {
  CHECK(labels(Axis(0.15, 2.5, Scale::kLog, 5)) == Labels{"0.2", "0.5", "1", "2"});
  CHECK(labels(Axis(1e-6, 1e4, Scale::kLog, 5)).size() <= 5);
  CHECK(labels(Axis(2.1, 3.9, Scale::kLog, 4)).size() >= 2);
  const Axis axis(1, 100, Scale::kLog, 5);
  CHECK(axis.position(10) == Approx(0.5));
}

TEST_CASE("an axis of one value is widened around it", "[report]") {
  const Axis constant(3, 3, Scale::kLinear, 5);
  CHECK(constant.low() < 3);
  CHECK(constant.high() > 3);
  CHECK(labels(Axis(0, 0, Scale::kLinear, 4)).size() >= 3);
}

TEST_CASE("text is escaped for HTML", "[report]") {
  CHECK(escape_html("a<b> & \"c\" 'd'\n") == "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\n");
  CHECK(escape_html(std::string("\x1b[0m")) == "\xEF\xBF\xBD[0m");
}

TEST_CASE("smoothing is a mean that keeps the first point and leaves NaN out", "[report]") {
  const std::vector<ChartPoint> points = {{0, 9}, {1, 3}, {2, 3}, {3, kNan}, {4, 6}};
  const std::vector<ChartPoint> mean = smooth(points, 1);
  REQUIRE(mean.size() == 5);
  CHECK(mean[0].y == 9);
  CHECK(mean[1].y == Approx(5));
  CHECK(mean[2].y == Approx(3));
  CHECK(mean[3].y == Approx(4.5));
  CHECK(mean[4].y == Approx(6));
  CHECK(std::isnan(smooth({{0, kNan}}, 3)[0].y));
}

TEST_CASE("thinning out keeps both ends of every spike", "[report]") {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 10000; ++i) {
    points.push_back({static_cast<double>(i), i == 5001 ? 50.0 : i == 5002 ? -50.0 : 1.0});
  }
  const std::vector<ChartPoint> kept = thin_out(points, 100);
  CHECK(kept.size() <= 202);
  int num_spikes = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    num_spikes += std::abs(kept[i].y) == 50 ? 1 : 0;
    CHECK((i == 0 || kept[i].x > kept[i - 1].x));
  }
  CHECK(num_spikes == 2);
  CHECK(thin_out(points, 5000).size() == points.size());
}

TEST_CASE("a chart counts the values it cannot draw", "[report]") {
  LineChart chart{.title = "Gradient norm", .scale = Scale::kLog};
  chart.series.push_back({.label = "a", .points = {{1, 1}, {2, 0}, {3, kNan}, {4, 2}}});
  const std::string html = render_line_chart(chart);
  CHECK(contains(html, "2 values not drawn: not finite, or not positive on a log axis."));
  CHECK(count_of(html, "M") >= 2);  // the gap breaks the line
  CHECK_FALSE(contains(html, "nan"));
}

TEST_CASE("a chart says how many outliers lie above its axis", "[report]") {
  LineChart chart{.title = "Step time", .y_low = 0, .clips_outliers = true};
  Series series{.label = "a"};
  for (int i = 0; i < 100; ++i) {
    series.points.push_back({static_cast<double>(i), i == 0 ? 4670.0 : 65.0});
  }
  chart.series.push_back(series);
  CHECK(contains(render_line_chart(chart), "1 value lies above the axis; the largest is 4.67 k."));
}

TEST_CASE("a chart without data says so", "[report]") {
  CHECK(contains(render_line_chart({.title = "Loss"}), "Nothing logged."));
}

TEST_CASE("a report is one page without script or outside resource", "[report]") {
  RunLog run = example_run("tiny");
  run.events = {{.step = 7, .event = "nonfinite", .detail = "<script>alert(1)</script>"}};
  run.config = "a: </pre><img src=http://x>";
  const std::string html = report_of({run});
  CHECK(html.substr(0, 15) == "<!DOCTYPE html>");
  CHECK_FALSE(contains(html, "<script"));
  CHECK_FALSE(contains(html, "<img"));
  CHECK_FALSE(contains(html, "<link"));
  CHECK_FALSE(contains(html, "href"));
  CHECK(contains(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
  CHECK(contains(html, "a: &lt;/pre&gt;&lt;img src=http://x&gt;"));
  CHECK(contains(html, "prefers-color-scheme:dark"));
  CHECK(count_of(html, "<svg") == count_of(html, "</svg>"));
  CHECK(report_of({run}) == html);
}

TEST_CASE("a report shows facts, curves, memory and events of a run", "[report]") {
  const std::string html = report_of({example_run("tiny")});
  CHECK(contains(html, "<dt>best val loss</dt><dd>0.5000<small>at step 200; last 0.6000 at 400"));
  CHECK(contains(html, "<dt>time in steps</dt><dd>8s<small>"));
  CHECK(contains(html, "<dt>throughput</dt><dd>3,200 tok/s<small>20.0 ms per step, medians"));
  CHECK(contains(html, "<dt>MFU</dt><dd>\u2013<small>peak of the device unknown"));
  for (const char* title : {"Loss", "Loss, second half", "Gradient norm", "Learning rate",
                            "Throughput", "Step time", "Memory"}) {
    CHECK(contains(html, std::string("<figcaption>") + title + " <span"));
  }
  CHECK(contains(html, "<td>12.0 MiB</td><td>75.0%</td>"));
  CHECK(contains(html, "<td>sum of the peaks</td><td>16.0 MiB</td>"));
  CHECK(contains(html, "None logged."));
}

TEST_CASE("a report of a run that has only begun is still a page", "[report]") {
  RunLog run;
  run.dir = "runs/new";
  run.facts.name = "new";
  run.has_torn_end = true;
  const std::string html = report_of({run});
  CHECK(contains(html, "no evaluation"));
  CHECK(contains(html, "Nothing logged."));
  CHECK(contains(html, "cut short and left out"));
  CHECK_FALSE(contains(html, "nan"));
}

TEST_CASE("several runs are overlaid with a legend, by tokens where batches differ", "[report]") {
  const std::string same = report_of({example_run("a"), example_run("b")});
  CHECK(contains(same, "train, a"));
  CHECK(contains(same, "val, b"));
  CHECK(contains(same, "Loss, second half"));
  const std::string different = report_of({example_run("a"), example_run("b", 128)});
  CHECK(contains(different, "Loss by tokens"));
}

TEST_CASE("runs of one name are told apart by directory", "[report]") {
  RunLog other = example_run("a");
  other.dir = "elsewhere/a";
  const std::string html = report_of({example_run("a"), other});
  CHECK(contains(html, "train, runs/a"));
  CHECK(contains(html, "train, elsewhere/a"));
}

TEST_CASE("a report of no run, or of more runs than colours, is refused", "[report]") {
  CHECK_THROWS_WITH(report_of({}), "report: 0 runs; expected 1 to 8, one colour each");
  CHECK_THROWS_WITH(report_of(std::vector<RunLog>(9, example_run("a"))),
                    "report: 9 runs; expected 1 to 8, one colour each");
}

TEST_CASE("the command writes a whole file and refuses what it cannot write", "[report]") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path& dir = directory.path();
  directory.write("metrics.jsonl", "{\"kind\":\"start\",\"run\":\"tiny\",\"steps\":4}\n");

  CLI::App app;
  register_report(app);
  app.parse("report " + dir.string());
  CHECK(std::filesystem::exists(dir / "report.html"));

  CHECK(write_report({dir, dir}, dir / "both.html") == dir / "both.html");
  CHECK(contains(read_file(dir / "both.html"), "</html>"));

  const std::filesystem::path nowhere = dir / "no_such" / "report.html";
  CHECK_THROWS_AS(write_report({dir}, nowhere), Error);
  CHECK_FALSE(std::filesystem::exists(nowhere));
}

}  // namespace
}  // namespace ghost
