#pragma once

#include <nlohmann/json.hpp>

#include "tools/bench/region_rates.h"

namespace ghost {

/// The rates, and what the cost model makes of them with one of `regions` a rank and no time for
/// messages.
void print_regions(const RegionRates& rates, std::int64_t regions);

/// The same numbers, in seconds.
nlohmann::ordered_json facts_of(const RegionRates& rates, std::int64_t regions);

}  // namespace ghost
