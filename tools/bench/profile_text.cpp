#include "tools/bench/profile_text.h"

#include <algorithm>

#include <fmt/core.h>

#include "tools/bench/gemm_rate.h"
#include "tools/console/quantity.h"
#include "tools/inspect/memory_plan.h"

namespace ghost {
namespace {

std::string_view pass_name(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return "forward";
    case Pass::kBackward:
      return "backward";
    case Pass::kNone:
      return "";
  }
  return "";
}

std::string percent(double share) {
  return share > 0 ? fmt::format("{:.0f} %", 100 * share) : std::string();
}

double seconds_alone(const GemmCounts& gemms, DType dtype, std::map<GemmShape, double>& known) {
  double seconds = 0;
  for (const auto& [shape, count] : gemms) {
    double& rate = known[shape];
    if (rate == 0) {
      rate = measure_gemm_rate(shape, dtype);
    }
    seconds += static_cast<double>(shape.flops() * count) / rate;
  }
  return seconds;
}

}  // namespace

ProfileReport::ProfileReport(const StepProfile::Entries& entries, const Ceilings& rates,
                             const Device& device, DType dtype, double seconds_a_step,
                             std::int64_t steps)
    : ceilings(rates), step_seconds(seconds_a_step), rest_seconds(seconds_a_step) {
  const auto each = static_cast<double>(steps);
  std::map<GemmShape, double> known;
  for (const auto& [key, entry] : entries) {
    lines.push_back(
        {.key = key,
         .calls = entry.calls / steps,
         .seconds = entry.seconds / each,
         .bytes = entry.bytes / each,
         .flops = gemm_flops(entry.gemms) / each,
         .gemm_seconds = device.is_cpu() ? seconds_alone(entry.gemms, dtype, known) / each : 0});
    rest_seconds -= lines.back().seconds;
  }
  std::sort(lines.begin(), lines.end(),
            [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
}

void print_profile(const ProfileReport& report) {
  const Ceilings& ceilings = report.ceilings;
  fmt::print("\ncopy, read and written   {:.1f} GB/s\n", ceilings.copy_bytes_per_s / 1e9);
  fmt::print("square product           {}FLOP/s\n\n", format_short(ceilings.gemm_flops_per_s));
  fmt::print(
      "| work | pass | calls | ms | of the step | products | bytes | of copy | of product |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  const auto print = [&](const ProfileReport::Line& line) {
    fmt::print("| {} | {} | {} | {:.3f} | {:.1f} % | {} | {} | {} | {} |\n", line.key.name,
               pass_name(line.key.pass), line.calls, line.seconds * 1e3,
               100 * line.seconds / report.step_seconds, percent(line.gemm_seconds / line.seconds),
               line.bytes > 0 ? format_bytes(static_cast<std::int64_t>(line.bytes)) : "",
               percent(line.bytes / line.seconds / ceilings.copy_bytes_per_s),
               percent(line.flops / line.seconds / ceilings.gemm_flops_per_s));
  };
  for (const ProfileReport::Line& line : report.lines) {
    print(line);
  }
  fmt::print("| rest | | | {:.3f} | {:.1f} % | | | | |\n", report.rest_seconds * 1e3,
             100 * report.rest_seconds / report.step_seconds);
  fmt::print(
      "\nproducts: those of dense layers, measured alone, over the time of the op; those inside "
      "of\n"
      "attention and of state-space mixers are not counted. bytes: every tensor read or written\n"
      "once, a lower bound. of copy, of product: share of the two rates above.\n");
}

nlohmann::ordered_json facts_of(const ProfileReport& report) {
  nlohmann::ordered_json facts = {{"ms_per_step", report.step_seconds * 1e3},
                                  {"rest_ms", report.rest_seconds * 1e3},
                                  {"copy_bytes_per_s", report.ceilings.copy_bytes_per_s},
                                  {"gemm_flops_per_s", report.ceilings.gemm_flops_per_s},
                                  {"work", nlohmann::ordered_json::array()}};
  for (const ProfileReport::Line& line : report.lines) {
    facts["work"].push_back({{"name", line.key.name},
                             {"pass", pass_name(line.key.pass)},
                             {"calls", line.calls},
                             {"ms", line.seconds * 1e3},
                             {"gemm_ms", line.gemm_seconds * 1e3},
                             {"bytes", line.bytes},
                             {"flops", line.flops}});
  }
  return facts;
}

}  // namespace ghost
