#include "tools/inspect/command.h"

#include <iostream>
#include <memory>

#include "tools/console/quantity.h"
#include "tools/inspect/memory_plan.h"
#include "tools/inspect/residual_plans.h"
#include "tools/run/config_options.h"
#include "tools/run/run_data.h"

namespace ghost {
namespace {

void print_parameters(const Model& model) {
  struct Module {
    std::int64_t tensors = 0;
    std::int64_t elements = 0;
    std::int64_t decayed = 0;
  };
  std::vector<std::pair<std::string, Module>> modules;  // in order of declaration
  for (const auto& parameter : model.parameters().all()) {
    const std::string module = parameter->name.substr(0, parameter->name.rfind('.'));
    const std::string name = path_pattern(module);
    auto found = std::find_if(modules.begin(), modules.end(),
                              [&](const auto& known) { return known.first == name; });
    if (found == modules.end()) {
      modules.emplace_back(name, Module{});
      found = modules.end() - 1;
    }
    const std::int64_t elements = parameter->shape.numel();
    ++found->second.tensors;
    found->second.elements += elements;
    found->second.decayed += parameter->decay == Decay::kYes ? elements : 0;
  }
  fmt::print("{:<40} {:>8} {:>16} {:>16}\n", "module", "tensors", "parameters", "with decay");
  for (const auto& [name, module] : modules) {
    fmt::print("{:<40} {:>8} {:>16} {:>16}\n", name, module.tensors, format_count(module.elements),
               format_count(module.decayed));
  }
  fmt::print("{:<40} {:>8} {:>16}\n\n", "total", model.parameters().all().size(),
             format_count(model.parameters().num_elements()));
}

void print_flops(const Config& config, const Model& model, const MemoryPlan& plan) {
  fmt::print("{:<22} {} ({}, N without embeddings only looked up)\n",
             fmt::format("FLOPs a {}", model.item_name()),
             format_short(model.flops_per_item(config.train.seq_len)), model.flops_formula());
  fmt::print("FLOPs a step           {} for {} {}s\n",
             format_short(model.flops_per_item(config.train.seq_len) *
                          static_cast<double>(config.tokens_per_step())),
             format_count(config.tokens_per_step()), model.item_name());
  fmt::print("of these dense GEMMs   {} as run, recomputation included\n\n",
             format_short(plan.gemm_flops()));
}

void print_bytes(const MemoryPlan& plan) {
  fmt::print("{:<16} {:>14} {:>22}\n", "bytes a step", "peak of tag", "when the sum peaks");
  for (int tag = 0; tag < kNumMemoryTags; ++tag) {
    const auto i = static_cast<std::size_t>(tag);
    fmt::print("{:<16} {:>14} {:>22}\n", tag_name(static_cast<MemoryTag>(tag)),
               format_bytes(plan.peak[i]), format_bytes(plan.at_total_peak[i]));
  }
  fmt::print("{:<16} {:>14} {:>22}\n\n", "sum", "", format_bytes(plan.total_peak));
}

/// The config's own residual plan beside those that have names.
void print_residuals(const Config& config, const Model& model, const MemoryPlan& own,
                     const DataFacts& data) {
  if (config.model.is_language_model()) {
    fmt::print(
        "residuals of a block (mean over the layers), bytes a token (and in units of "
        "model.channels)\n");
  } else {
    fmt::print(
        "residuals of a layer (mean over the layers), bytes a {} (and in units of its width where "
        "all are as wide as the first)\n",
        model.item_name());
  }
  fmt::print("{:<28} {:>10} {:>11} {:>11} {:>14} {:>14} {:>14} {:>12}\n", "plan", "residuals",
             "/ channels", "statistics", "sketches", "peak kept", "peak of all", "GEMM FLOPs");
  const auto print = [&](std::string_view name, const MemoryPlan& plan) {
    const double bytes = plan.block_bytes(/*with_statistics=*/false);
    fmt::print("{:<28} {:>10.1f} {:>11.2f} {:>11.1f} {:>14} {:>14} {:>14} {:>12}\n", name, bytes,
               bytes / static_cast<double>(config.model.channels()),
               plan.block_bytes(/*with_statistics=*/true) - bytes,
               format_bytes(plan.block_sketch_bytes), format_bytes(plan.kept_peak),
               format_bytes(plan.total_peak), format_short(plan.gemm_flops()));
  };
  print("this config", own);
  for (const NamedPlan& plan : named_plans(config, data)) {
    print(plan.name, plan.memory);
  }
  fmt::print("sketches: bytes of a block, whatever the tokens, for R = {} of {} rows\n",
             sketch_rank(config.residuals.sketch, config.train.batch_size * config.train.seq_len,
                         /*progress=*/0),
             config.train.batch_size * config.train.seq_len);
}

void inspect(const ConfigOptions& options) {
  ConfigOptions source = options;
  if (std::filesystem::is_directory(source.file)) {
    source.file /= "config.yaml";
  }
  const Config loaded = source.load();
  const DataFacts data = data_facts_of(loaded);
  std::string note;
  const Config config = resolve_residuals(loaded, data, &note);
  const auto model = make_any_model(config.model, data);
  const MemoryPlan plan = plan_memory(config, data);
  print_parameters(*model);
  print_flops(config, *model, plan);
  print_bytes(plan);
  print_residuals(config, *model, plan, data);
  if (!note.empty()) {
    fmt::print("{}\n", note);
  }
}

}  // namespace

void register_inspect(CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "parameters, FLOPs and planned bytes of a config, before anything is allocated");
  command->add_option("CONFIG", options->file, "config file or run directory")->required();
  options->add_to(*command);
  command->callback([options] { inspect(*options); });
}

}  // namespace ghost
