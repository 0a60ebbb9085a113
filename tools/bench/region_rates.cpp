#include "tools/bench/region_rates.h"

#include <algorithm>

#include "engine/autograd/resident_parameters.h"
#include "engine/tensor/primitives.h"
#include "models/lbi/regions_pass.h"
#include "models/lbi/slots.h"
#include "tools/bench/kernel_bench.h"

namespace ghost {
namespace {

/// The model with the parameters of its first region and of its readout only.
std::unique_ptr<LanguageModel> model_to_measure(const Config& config, std::int64_t vocab_size,
                                                Context& ctx) {
  auto model = make_model(config.model, vocab_size);
  const auto& regions = dynamic_cast<const LbiModel&>(*model);
  const auto last = static_cast<std::int64_t>(regions.regions().size()) - 1;
  ParameterStore& parameters = model->parameters();
  materialize_residents(
      parameters,
      [&](const Parameter& parameter) {
        const std::int64_t region = regions.region_of(parameter);
        return region == 0 || region == last;
      },
      ctx.allocator(), parameter_dtype(config.train.dtype), activation_dtype(config.train.dtype));
  parameters.initialize(static_cast<std::uint64_t>(config.train.seed));
  parameters.refresh_working();
  parameters.begin_gradients();
  return model;
}

std::vector<std::int64_t> columns_to_measure(const RegionsConfig& config, std::int64_t width,
                                             PullbackColumns columns) {
  if (columns == PullbackColumns::kConfigured) {
    return {config.columns};
  }
  std::vector<std::int64_t> several;
  for (std::int64_t count = 1; count < width; count *= 2) {
    several.push_back(count);
  }
  several.push_back(width);
  return several;
}

}  // namespace

RegionRates measure_region_rates(const Config& config, std::int64_t vocab_size,
                                 const Device& device, PullbackColumns columns) {
  KernelBench bench(device, activation_dtype(config.train.dtype));
  Context& ctx = bench.context();
  const auto model = model_to_measure(config, vocab_size, ctx);
  const auto& regions = dynamic_cast<const LbiModel&>(*model);
  const std::int64_t batch = config.train.batch_size;
  const std::int64_t seq_len = config.train.seq_len;
  const Slots slots = training_slots(regions.config(), seq_len);
  const ResidualPlan plan(config.residuals);
  const Tensor canvas = bench.random({batch, seq_len, regions.parts().channels()});
  const Tensor state = bench.random({batch, slots.size(), regions.config().state_dim});
  const Tensor targets = bench.tokens({batch, seq_len}, model->vocab_size());
  ctx.set_row_labels({.tokens = targets, .targets = targets});
  ctx.set_training(true);

  RegionRates rates{.layers = regions.config().layers_per_region,
                    .width = slots.size() * regions.config().state_dim};
  const auto forward = [&](RegionPass& pass) {
    return pass.forward(ctx, canvas, state, RegionPass::Output::kState);
  };
  rates.forward = bench.seconds([&] {
    RegionPass pass(regions.regions().front(), slots, plan);
    forward(pass);
  });
  const double both = bench.seconds([&] {
    RegionPass pass(regions.regions().front(), slots, plan);
    forward(pass);
    pass.backward(ctx, state);
  });
  RegionPass pass(regions.regions().front(), slots, plan);
  forward(pass);
  rates.input_backward = bench.seconds([&] { pass.adjoint(ctx, state); });
  rates.weight_backward = std::max(0.0, both - rates.forward - rates.input_backward);
  for (const std::int64_t count : columns_to_measure(regions.config(), rates.width, columns)) {
    rates.pullbacks.push_back(
        {.columns = count, .seconds = bench.seconds([&] { pass.pullback(ctx, count); })});
  }
  const Tensor seed = ctx.empty({1}, statistic_dtype(activation_dtype(config.train.dtype)));
  fill(seed, 1);
  rates.readout = bench.seconds([&] {
    ReadoutPass readout(regions, plan);
    readout.forward(ctx, canvas, targets, slots);
    readout.backward(ctx, seed);
  });
  return rates;
}

RegionTimes times_on_ranks(const RegionRates& rates, std::int64_t regions, std::int64_t ranks,
                           double exchange) {
  const double share = static_cast<double>(regions) / static_cast<double>(ranks);
  return {.regions = ranks,
          .forward = share * rates.forward,
          .input_backward = share * rates.input_backward,
          .weight_backward = share * rates.weight_backward,
          .readout = rates.readout,
          .pullback = share * rates.pullbacks.back().seconds,
          .exchange = exchange};
}

}  // namespace ghost
