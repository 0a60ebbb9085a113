#pragma once

#include <string>

#include "engine/device/device.h"
#include "models/rank_grid.h"
#include "tools/run/run_config.h"

namespace ghost {

/// `config` with a number in model.regions.serial_regions where `backward: hybrid` on several
/// region ranks leaves it open: the one with the least latency by the cost model
/// (models/lbi/cost_model.h), from times of a region on the first rank, of the readout on the last,
/// and of the exchange of pullbacks between all. `note` gets a line about the choice. Collective.
Config choose_serial_regions(const Config& config, std::int64_t vocab_size, const Device& device,
                             RankGrid& grid, std::string* note);

/// The serial_regions with which the top `serial_ranks` ranks below the last of `ranks` are serial,
/// and no others, when `regions` are spread over them.
std::int64_t serial_regions_of(std::int64_t regions, std::int64_t ranks, std::int64_t serial_ranks);

}  // namespace ghost
