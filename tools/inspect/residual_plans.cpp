#include "tools/inspect/residual_plans.h"

#include <algorithm>
#include <set>

#include "engine/config/byte_size.h"
#include "engine/config/nearest_key.h"
#include "tools/console/quantity.h"
#include "tools/run/batch.h"

namespace ghost {
namespace {

using ModuleRole = std::pair<std::string, Role>;

/// Every residual that the model declares, by module and role, when nothing is recomputed.
std::set<ModuleRole> residuals_of(const Config& config, const DataFacts& data) {
  const auto model = make_any_model(config.model, data);
  Context ctx(Device{.is_dry = true});
  model->parameters().materialize(ctx.allocator(), parameter_dtype(config.train.dtype),
                                  activation_dtype(config.train.dtype));
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Batch batch(ctx, model->batch_layout(config.train.batch_size, config.train.seq_len,
                                             activation_dtype(config.train.dtype)));
  const Tensor loss = model->loss(ctx, batch.inputs(), batch.targets());
  std::set<ModuleRole> found;
  for (const Node& node : tape.nodes()) {
    for (const ResidualSpec& spec : node.op().residuals()) {
      found.emplace(node.module(), spec.role);
    }
  }
  found.emplace("blocks.0", Role::kBlockInput);  // of a block that would be recomputed
  return found;
}

void check_rules(const Config& config, const DataFacts& data) {
  if (config.residuals.rules.empty()) {
    return;
  }
  const std::set<ModuleRole> known = residuals_of(config, data);
  for (std::size_t i = 0; i < config.residuals.rules.size(); ++i) {
    const ResidualRule& rule = config.residuals.rules[i];
    if (std::any_of(known.begin(), known.end(), [&](const ModuleRole& residual) {
          return rule.matches(residual.first, residual.second);
        })) {
      continue;
    }
    ResidualRule anywhere = rule;
    anywhere.module = "*";
    std::vector<std::string> modules;
    for (const auto& [module, role] : known) {
      if (anywhere.matches(module, role)) {
        modules.push_back(path_pattern(module));
      }
    }
    fail<ConfigError>(
        "residuals.rules.{}.module is \"{}\"; it matches no module with a residual of role {}; did "
        "you mean {}?",
        i, rule.module, is_sketch(rule.keep) ? role_name(Role::kLinearInput) : rule.role,
        nearest_text(rule.module, modules));
  }
}

NamedPlan plan_of(const Config& config, const DataFacts& data, std::string name,
                  ResidualsConfig residuals, bool is_exact) {
  Config planned = config;
  planned.residuals = residuals;
  return {.name = std::move(name),
          .residuals = std::move(residuals),
          .is_exact = is_exact,
          .memory = plan_memory(planned, data)};
}

}  // namespace

std::vector<NamedPlan> named_plans(const Config& config, const DataFacts& data) {
  std::vector<NamedPlan> plans;
  // The choice is between plans: the config's own options of keeping stay, its choices go.
  ResidualsConfig plain = config.residuals;
  plain.preset = ResidualPreset::kNone;
  plain.recompute = Recompute::kNone;
  plain.memory_budget.clear();
  plain.rules.clear();
  for (const auto& [recompute, name] : EnumNames<Recompute>::kNames) {
    ResidualsConfig residuals = plain;
    residuals.recompute = recompute;
    plans.push_back(plan_of(config, data, fmt::format("exact, recompute: {}", name), residuals,
                            !is_approximate(plain.keep)));
  }
  for (const auto& [preset, name] : EnumNames<ResidualPreset>::kNames) {
    if (preset != ResidualPreset::kNone && preset != ResidualPreset::kAuto) {
      ResidualsConfig residuals = plain;
      residuals.preset = preset;
      plans.push_back(plan_of(config, data, std::string(name), residuals, /*is_exact=*/false));
    }
  }
  return plans;
}

Config resolve_residuals(const Config& config, const DataFacts& data, std::string* note) {
  check_rules(config, data);
  if (config.residuals.preset != ResidualPreset::kAuto) {
    return config;
  }
  const std::int64_t budget = parse_byte_size(config.residuals.memory_budget).value_or(0);
  std::vector<NamedPlan> plans = named_plans(config, data);
  if (!config.residuals.allow_approximate) {
    std::erase_if(plans, [](const NamedPlan& plan) { return !plan.is_exact; });
  }
  const auto smallest =
      std::min_element(plans.begin(), plans.end(), [](const NamedPlan& a, const NamedPlan& b) {
        return a.memory.total_peak < b.memory.total_peak;
      });
  const NamedPlan least = *smallest;
  std::erase_if(plans, [&](const NamedPlan& plan) { return plan.memory.total_peak > budget; });
  if (plans.empty()) {
    fail<ConfigError>("residuals.memory_budget is {}; the smallest {}plan, {}, holds {} a step",
                      config.residuals.memory_budget,
                      config.residuals.allow_approximate ? "" : "exact ", least.name,
                      format_bytes(least.memory.total_peak));
  }
  const auto chosen =
      std::min_element(plans.begin(), plans.end(), [](const NamedPlan& a, const NamedPlan& b) {
        return std::pair(!a.is_exact, a.memory.gemm_flops()) <
               std::pair(!b.is_exact, b.memory.gemm_flops());
      });
  if (note != nullptr) {
    *note = fmt::format("residuals: {}, {} a step of {} allowed", chosen->name,
                        format_bytes(chosen->memory.total_peak), format_bytes(budget));
  }
  Config resolved = config;
  resolved.residuals = chosen->residuals;
  resolved.residuals.rules = config.residuals.rules;
  return resolved;
}

}  // namespace ghost
