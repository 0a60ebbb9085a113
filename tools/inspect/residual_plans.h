#pragma once

#include <string>
#include <vector>

#include "tools/inspect/memory_plan.h"
#include "tools/run/run_config.h"

namespace ghost {

/// A way of keeping residuals, and what it costs a config.
struct NamedPlan {
  std::string name;  // "exact, recompute: cheap", "ghost"
  ResidualsConfig residuals;
  bool is_exact = true;
  MemoryPlan memory;
};

/// Every plan that has a name, for the sizes and sketch options of `config`: the exact ones, then
/// the presets.
std::vector<NamedPlan> named_plans(const Config& config, const DataFacts& data);

/// `config` ready to run: `residuals.preset: auto` is replaced by the plan with the fewest FLOPs
/// whose step fits into memory_budget (an approximate one only where allowed and no exact one
/// fits), and every rule is checked to match a residual of the model. `note` gets a line about the
/// choice, if there was one. Throws ghost::ConfigError naming the rule and the nearest module, or
/// the smallest plan when none fits.
Config resolve_residuals(const Config& config, const DataFacts& data, std::string* note);

}  // namespace ghost
