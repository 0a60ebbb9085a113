#include "tools/bench/command.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <omp.h>
#include <optional>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/io/process_memory.h"
#include "tools/bench/gemm_rate.h"
#include "tools/bench/kernel_rates.h"
#include "tools/bench/profile_text.h"
#include "tools/bench/random_batches.h"
#include "tools/bench/region_text.h"
#include "tools/bench/sketch_rate.h"
#include "tools/console/quantity.h"
#include "tools/inspect/memory_plan.h"
#include "tools/inspect/residual_plans.h"
#include "tools/run/config_options.h"
#include "tools/run/run_data.h"
#include "tools/run/threads.h"
#include "tools/train/training_step.h"

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  ConfigOptions config;
  std::int64_t steps = 10;
  std::int64_t warmup = 3;
  bool as_json = false;
  std::string json_file;  // gets the JSON as one more line
  std::string row;        // name of the plan; prints one row of a table instead
  bool kernels = false;
  bool regions = false;
  bool profile = false;
};

struct BenchResult {
  double median_ms = 0;
  double fastest_ms = 0;
  double flops = 0;                   // of one step, as the model counts them
  std::optional<double> gemm_rate{};  // FLOP/s of the step's dense products, each measured alone
  double gemm_seconds = 0;            // that they take at this rate
  std::int64_t steady_allocations = 0;
  std::int64_t process_peak = 0;  // bytes, before the products are measured alone
  std::optional<SketchRate> sketch{};
  std::optional<ProfileReport> profile{};
};

/// Share of a step's time that its dense products at their own rate leave over.
double outside_gemms(const BenchResult& result) {
  return 1 - result.gemm_seconds / (result.median_ms * 1e-3);
}

/// The steps once more, from number `first`, with their ops timed one by one.
ProfileReport profile(const BenchOptions& options, const Config& config, TrainingStep& step,
                      const FillBatch& fill, std::int64_t first) {
  const StepProfile timer(step.context());
  const auto begin = Clock::now();
  for (std::int64_t i = 0; i < options.steps; ++i) {
    step.run(first + i, fill);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const Device& device = step.context().device();
  const DType dtype = activation_dtype(config.train.dtype);
  return {timer.entries(),
          measure_ceilings(device, dtype),
          device,
          dtype,
          seconds / static_cast<double>(options.steps),
          options.steps};
}

BenchResult measure(const BenchOptions& options, const Config& config, TrainingStep& step) {
  const RandomBatches batches(config, step.model());
  const FillBatch fill = [&batches](std::int64_t micro_step, const HostElements& inputs,
                                    const HostElements& targets) {
    batches.fill(micro_step, inputs, targets);
  };
  GemmCounts gemms;
  std::int64_t allocations = 0;
  std::vector<double> times;
  for (std::int64_t i = 0; i < options.warmup + options.steps; ++i) {
    if (i == options.warmup) {
      allocations = step.context().allocator()->num_system_allocations();
    }
    if (i == 0) {
      step.context().attach_gemm_counts(&gemms);
    }
    const auto begin = Clock::now();
    step.run(i, fill);
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    step.context().attach_gemm_counts(nullptr);
    if (i >= options.warmup) {
      times.push_back(ms);
    }
  }
  const std::int64_t process_peak = process_peak_bytes();
  std::sort(times.begin(), times.end());
  const bool is_cpu = step.context().device().is_cpu();  // these are the CPU's rates
  std::optional<SketchRate> sketch;
  if (is_cpu && step.tape().plan().has_sketches()) {
    sketch =
        measure_sketch_rate(config.residuals.sketch, config.train.batch_size * config.train.seq_len,
                            4 * config.model.channels());
  }
  std::optional<double> gemm_rate;
  if (is_cpu) {
    gemm_rate = measure_gemm_rate(gemms, activation_dtype(config.train.dtype));
  }
  BenchResult result{
      .median_ms = times[times.size() / 2],
      .fastest_ms = times.front(),
      .flops = step.model().flops_per_item(config.train.seq_len) *
               static_cast<double>(config.tokens_per_step()),
      .gemm_rate = gemm_rate,
      .gemm_seconds = gemm_rate.has_value() ? gemm_flops(gemms) / *gemm_rate : 0,
      .steady_allocations = step.context().allocator()->num_system_allocations() - allocations,
      .process_peak = process_peak,
      .sketch = sketch};
  if (options.profile) {
    result.profile.emplace(profile(options, config, step, fill, options.warmup + options.steps));
  }
  return result;
}

void print_sketch(const SketchRate& rate) {
  const auto line = [&](std::string_view pass, double bytes_per_s) {
    fmt::print("{:<17} {:.1f} GB/s, {:.0f} % of reading\n", pass, bytes_per_s / 1e9,
               100 * bytes_per_s / rate.read);
  };
  fmt::print("sketch passes     over f32 [{}, {}] with R = {}; reading it alone {:.1f} GB/s\n",
             rate.rows, rate.columns, rate.rank, rate.read / 1e9);
  line("  S X, norm", rate.input);
  line("  S dY, norm, db", rate.gradient);
  if (rate.groups > 0) {
    line("  groups of X", rate.groups);
  }
}

void print_text(const Config& config, const Model& model, const BenchResult& result,
                const Allocator& memory) {
  const double rate = result.flops / (result.median_ms * 1e-3);
  fmt::print("ms a step         {} median, {} fastest\n", format_ms(result.median_ms),
             format_ms(result.fastest_ms));
  fmt::print("{:<17} {}\n", fmt::format("{}s a second", model.item_name()),
             format_count(static_cast<std::int64_t>(static_cast<double>(config.tokens_per_step()) /
                                                    (result.median_ms * 1e-3))));
  fmt::print("FLOP/s            {} ({})\n", format_short(rate), model.flops_formula());
  if (result.gemm_rate.has_value()) {
    fmt::print("GEMM FLOP/s       {} (oneDNN {} on the step's own shapes, each alone)\n",
               format_short(*result.gemm_rate),
               products_text(activation_dtype(config.train.dtype)));
    fmt::print("share of GEMM     {:.1f} %\n", 100 * rate / *result.gemm_rate);
    fmt::print("outside GEMMs     {:.1f} % of the step's time\n", 100 * outside_gemms(result));
  }
  if (result.sketch.has_value()) {
    print_sketch(*result.sketch);
  }
  fmt::print("system allocs     {} in the timed steps\n", result.steady_allocations);
  for (int tag = 0; tag < kNumMemoryTags; ++tag) {
    fmt::print("{:<17} {} at most\n", tag_name(static_cast<MemoryTag>(tag)),
               format_bytes(memory.meter().peak(static_cast<MemoryTag>(tag))));
  }
  fmt::print("all tags          {} at most, {} reserved, process peak {}\n",
             format_bytes(memory.meter().total_peak()), format_bytes(memory.reserved_bytes()),
             format_bytes(result.process_peak));
  if (result.profile.has_value()) {
    print_profile(*result.profile);
  }
}

nlohmann::ordered_json facts_of(const BenchOptions& options, const Config& config,
                                const BenchResult& result, const Allocator& memory) {
  const double rate = result.flops / (result.median_ms * 1e-3);
  nlohmann::ordered_json facts = {
      {"name", options.row},
      {"ms_per_step", result.median_ms},
      {"fastest_ms", result.fastest_ms},
      {"tokens_per_s", static_cast<double>(config.tokens_per_step()) / (result.median_ms * 1e-3)},
      {"flops_per_s", rate},
      {"steady_system_allocations", result.steady_allocations},
      {"meter_peak_bytes", memory.meter().total_peak()},
      {"reserved_bytes", memory.reserved_bytes()},
      {"process_peak_bytes", result.process_peak},
      {"threads", omp_get_max_threads()},
  };
  if (result.gemm_rate.has_value()) {
    facts["gemm_flops_per_s"] = *result.gemm_rate;
    facts["share_of_gemm"] = rate / *result.gemm_rate;
    facts["outside_gemms"] = outside_gemms(result);
  }
  if (result.sketch.has_value()) {
    facts["sketch"] = {{"rows", result.sketch->rows},
                       {"columns", result.sketch->columns},
                       {"rank", result.sketch->rank},
                       {"read_bytes_per_s", result.sketch->read},
                       {"input_bytes_per_s", result.sketch->input},
                       {"gradient_bytes_per_s", result.sketch->gradient},
                       {"groups_bytes_per_s", result.sketch->groups}};
  }
  if (result.profile.has_value()) {
    facts["profile"] = facts_of(*result.profile);
  }
  return facts;
}

/// | name | ms | tokens/s | FLOP/s | peak of all | residuals and sketches |
void print_row(const BenchOptions& options, const Config& config, const BenchResult& result,
               const Allocator& memory) {
  const double seconds = result.median_ms * 1e-3;
  fmt::print("| {} | {:.2f} | {} | {} | {} | {} |\n", options.row, result.median_ms,
             format_count(std::llround(static_cast<double>(config.tokens_per_step()) / seconds)),
             format_short(result.flops / seconds), format_bytes(memory.meter().total_peak()),
             format_bytes(memory.meter().kept_peak()));
}

void print_kernels(const KernelRates& rates) {
  fmt::print("copy, read and written   {:.1f} GB/s\n", rates.ceilings.copy_bytes_per_s / 1e9);
  fmt::print("square product           {}FLOP/s\n\n",
             format_short(rates.ceilings.gemm_flops_per_s));
  fmt::print("| operation | ms | rate | share of the bound |\n| --- | --- | --- | --- |\n");
  for (const KernelRate& kernel : rates.kernels) {
    // What bounds it is what would take longer at the rates above.
    const double by_flops = kernel.flops / rates.ceilings.gemm_flops_per_s;
    const double by_bytes = kernel.bytes / rates.ceilings.copy_bytes_per_s;
    const std::string rate = by_flops > by_bytes
                                 ? format_short(kernel.flops / kernel.seconds) + "FLOP/s"
                                 : fmt::format("{:.1f} GB/s", kernel.bytes / kernel.seconds / 1e9);
    fmt::print("| {} | {:.3f} | {} | {:.0f} % |\n", kernel.name, kernel.seconds * 1e3, rate,
               100 * std::max(by_flops, by_bytes) / kernel.seconds);
  }
}

nlohmann::ordered_json facts_of(const KernelRates& rates) {
  nlohmann::ordered_json facts = {{"copy_bytes_per_s", rates.ceilings.copy_bytes_per_s},
                                  {"gemm_flops_per_s", rates.ceilings.gemm_flops_per_s},
                                  {"kernels", nlohmann::ordered_json::array()}};
  for (const KernelRate& kernel : rates.kernels) {
    facts["kernels"].push_back({{"name", kernel.name},
                                {"seconds", kernel.seconds},
                                {"flops", kernel.flops},
                                {"bytes", kernel.bytes}});
  }
  return facts;
}

void append_line(const std::string& file, const nlohmann::ordered_json& facts) {
  std::ofstream out(file, std::ios::app);
  out << facts.dump() << '\n';
  out.flush();
  GHOST_CHECK(out.good(), "{}: could not be written", file);
}

/// One measurement: as JSON where that is wanted, else as `print` does.
void show(const BenchOptions& options, const nlohmann::ordered_json& facts,
          const std::function<void()>& print) {
  if (!options.json_file.empty()) {
    append_line(options.json_file, facts);
  }
  if (options.as_json) {
    fmt::print("{}\n", facts.dump());
  } else {
    print();
  }
}

void bench_regions(const BenchOptions& options, const Config& config, std::int64_t vocab_size,
                   const Device& device) {
  if (!config.model.regions.has_value()) {
    fail<ConfigError>("{}: --regions measures the regions of a model; expected model.regions",
                      options.config.file.string());
  }
  const RegionRates rates =
      measure_region_rates(config, vocab_size, device, PullbackColumns::kSeveral);
  const std::int64_t regions = num_regions(*config.model.regions, config.model.layers());
  show(options, facts_of(rates, regions), [&] { print_regions(rates, regions); });
}

void bench(const BenchOptions& options) {
  const Config loaded = options.config.load();
  const Device device = parse_device(loaded.device);
  set_threads(loaded.train.threads);
  const DataFacts data = data_facts_of(loaded);
  const Config config = resolve_residuals(loaded, data, /*note=*/nullptr);
  if (options.kernels && !config.model.is_language_model()) {
    fail<ConfigError>("bench --kernels: model.type is {}; expected a language model",
                      enum_name(config.model.type));
  }
  if (options.kernels) {
    const KernelRates rates = measure_kernel_rates(config, data.vocab_size, device);
    show(options, facts_of(rates), [&] { print_kernels(rates); });
    return;
  }
  if (options.regions) {
    bench_regions(options, config, data.vocab_size, device);
    return;
  }
  const auto model = make_any_model(config.model, data);
  TrainingStep step(config, *model, device);
  if (!options.as_json && options.row.empty()) {
    fmt::print("{}: {} parameters, batch {} x {} x {} micro-steps, {} on {} threads, {}\n",
               model->architecture(), format_count(model->parameters().num_elements()),
               config.train.batch_size, config.train.seq_len, config.train.micro_steps,
               enum_name(config.train.dtype), omp_get_max_threads(), config.device);
  }
  const BenchResult result = measure(options, config, step);
  const Allocator& memory = *step.context().allocator();
  show(options, facts_of(options, config, result, memory), [&] {
    if (options.row.empty()) {
      print_text(config, *model, result, memory);
    } else {
      print_row(options, config, result, memory);
    }
  });
}

}  // namespace

void register_bench(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "speed of training steps on random data");
  command->add_option("CONFIG", options->config.file, "config file")->required();
  options->config.add_to(*command);
  command->add_option("--steps", options->steps, "timed steps")->check(CLI::PositiveNumber);
  command->add_option("--warmup", options->warmup, "steps before them")
      ->check(CLI::NonNegativeNumber);
  CLI::Option* json = command->add_flag("--json", options->as_json, "one JSON object");
  command->add_option("--append-json", options->json_file, "file that gets it as one more line");
  command->add_option("--row", options->row, "one row of a Markdown table, under this name")
      ->excludes(json);
  CLI::Option* kernels =
      command->add_flag("--kernels", options->kernels,
                        "operations alone, beside a copy and a large product, instead of steps");
  CLI::Option* regions =
      command
          ->add_flag(
              "--regions", options->regions,
              "one region of model.regions and its Jacobian, and what the cost model makes of it")
          ->excludes(kernels);
  command->add_flag("--profile", options->profile, "what each kind of op takes of a step")
      ->excludes(kernels)
      ->excludes(regions);
  command->callback([options] { bench(*options); });
}

}  // namespace ghost
