#include "tools/bench/region_text.h"

#include <fmt/core.h>

#include "tools/console/quantity.h"

namespace ghost {
namespace {

void print_time(std::string_view name, double seconds, std::string_view what) {
  fmt::print("{:<18}{:<10} {}\n", name, format_ms(seconds * 1e3), what);
}

}  // namespace

void print_regions(const RegionRates& rates, std::int64_t regions) {
  fmt::print("a region of {} layers, a Jacobian of {} columns\n", rates.layers, rates.width);
  print_time("forward", rates.forward, "");
  print_time("input backward", rates.input_backward, "cotangents of state and canvas");
  print_time("weight backward", rates.weight_backward, "what gradients of parameters add");
  print_time("readout", rates.readout, "final norm and head, forward and backward");
  fmt::print("\n| columns at once | all columns | gamma |\n| --- | --- | --- |\n");
  for (const PullbackTime& pullback : rates.pullbacks) {
    fmt::print("| {} | {} | {:.2f} |\n", pullback.columns, format_ms(pullback.seconds * 1e3),
               rates.column_ratio(pullback));
  }
  const RegionTimes times = times_on_ranks(rates, regions, regions, /*exchange=*/0);
  const std::int64_t best = best_serial_regions(times);
  fmt::print("\nlatency of a step on {} ranks by the cost model, messages aside\n", regions);
  print_time("joined", joined_latency(times), "one vector, both gradients of a region together");
  print_time("serial_adjoint", split_latency(times), "");
  print_time("scan", hybrid_latency(times, 0), "");
  print_time("hybrid", hybrid_latency(times, best), fmt::format("serial_regions {}", best));
}

nlohmann::ordered_json facts_of(const RegionRates& rates, std::int64_t regions) {
  const RegionTimes times = times_on_ranks(rates, regions, regions, /*exchange=*/0);
  const std::int64_t best = best_serial_regions(times);
  nlohmann::ordered_json facts = {{"regions", regions},
                                  {"layers_per_region", rates.layers},
                                  {"columns", rates.width},
                                  {"forward", rates.forward},
                                  {"input_backward", rates.input_backward},
                                  {"weight_backward", rates.weight_backward},
                                  {"readout", rates.readout},
                                  {"pullbacks", nlohmann::ordered_json::array()},
                                  {"joined", joined_latency(times)},
                                  {"serial_adjoint", split_latency(times)},
                                  {"scan", hybrid_latency(times, 0)},
                                  {"hybrid", hybrid_latency(times, best)},
                                  {"best_serial_regions", best}};
  for (const PullbackTime& pullback : rates.pullbacks) {
    facts["pullbacks"].push_back({{"columns_at_once", pullback.columns},
                                  {"seconds", pullback.seconds},
                                  {"gamma", rates.column_ratio(pullback)}});
  }
  return facts;
}

}  // namespace ghost
