#include "tools/train/serial_regions.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "engine/tensor/primitives.h"
#include "models/lbi/region_messages.h"
#include "models/lbi/slots.h"
#include "tools/bench/region_rates.h"
#include "tools/console/quantity.h"

namespace ghost {
namespace {

/// Seconds of an all-gather of one pullback a rank: the middle one of several.
double exchange_time(const Config& config, const Device& device, RankGrid& grid) {
  const std::shared_ptr<Allocator> memory = make_allocator(device);
  const DType dtype = activation_dtype(config.train.dtype);
  const RegionsConfig& regions = *config.model.regions;
  const std::int64_t width =
      training_slots(regions, config.train.seq_len).size() * regions.state_dim;
  const Shape one{config.train.batch_size, width, width};
  const Tensor own(memory, one, dtype, MemoryTag::kComm);
  const Tensor all(memory, {grid.num_region_ranks(), config.train.batch_size, width, width}, dtype,
                   MemoryTag::kComm);
  std::array<double, 5> seconds{};
  for (double& each : seconds) {
    Communicator& comm = grid.small();
    comm.barrier();
    const auto begin = std::chrono::steady_clock::now();
    comm.all_gather(own, all);
    comm.barrier();
    each = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

std::int64_t serial_regions_of(std::int64_t regions, std::int64_t ranks,
                               std::int64_t serial_ranks) {
  if (serial_ranks == 0) {
    return 0;
  }
  const RegionRange lowest =
      regions_of_rank(static_cast<std::size_t>(regions), static_cast<int>(ranks - 1 - serial_ranks),
                      static_cast<int>(ranks));
  return regions - 1 - static_cast<std::int64_t>(lowest.begin);
}

Config choose_serial_regions(const Config& config, std::int64_t vocab_size, const Device& device,
                             RankGrid& grid, std::string* note) {
  const std::int64_t ranks = grid.num_region_ranks();
  if (ranks == 1 || !config.model.regions.has_value() ||
      config.model.regions->backward != RegionsBackward::kHybrid ||
      config.model.regions->serial_regions.has_value()) {
    return config;
  }
  // One rank after the other has the machine for itself, as in the passes that are modelled.
  RegionRates rates;
  for (const int measures : {0, grid.num_region_ranks() - 1}) {
    if (grid.region_rank() == measures) {
      rates = measure_region_rates(config, vocab_size, device, PullbackColumns::kConfigured);
    }
    grid.small().barrier();
  }
  const bool has_region = grid.region_rank() == 0;
  const bool has_readout = grid.region_rank() + 1 == grid.num_region_ranks();
  rates.pullbacks.resize(1);
  double exchange = exchange_time(config, device, grid) / static_cast<double>(ranks);
  // Means over replicas, so that all choose alike.
  const auto share_of = [&](bool is_mine, double& number) {
    number = is_mine ? number / grid.num_replicas() : 0;
    grid.sum(MessageKind::kControl, grid.world(), std::span(&number, 1));
  };
  share_of(has_region, rates.forward);
  share_of(has_region, rates.input_backward);
  share_of(has_region, rates.weight_backward);
  share_of(has_region, rates.pullbacks.front().seconds);
  share_of(has_readout, rates.readout);
  share_of(true, exchange);

  const std::int64_t regions = num_regions(*config.model.regions, config.model.layers());
  const RegionTimes times = times_on_ranks(rates, regions, ranks, exchange);
  std::int64_t serial_ranks = best_serial_regions(times);
  serial_ranks = serial_ranks >= ranks - 2 ? ranks - 1 : serial_ranks;
  Config chosen = config;
  chosen.model.regions->serial_regions = serial_regions_of(regions, ranks, serial_ranks);
  *note = fmt::format(
      "serial_regions {}: a rank's regions take {} forward, {} for cotangents, {} for pullbacks; "
      "{} a step by the cost model, all serial {}, a scan {}",
      *chosen.model.regions->serial_regions, format_ms(times.forward * 1e3),
      format_ms(times.input_backward * 1e3), format_ms(times.pullback * 1e3),
      format_ms(hybrid_latency(times, serial_ranks) * 1e3), format_ms(split_latency(times) * 1e3),
      format_ms(hybrid_latency(times, 0) * 1e3));
  return chosen;
}

}  // namespace ghost
