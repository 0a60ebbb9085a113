#include "models/lbi/regions_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void RegionsConfig::validate(const std::string& path) const {
  check_range(layers_per_region > 0, path + "layers_per_region", layers_per_region,
              "a positive integer");
  check_range(state_dim > 1, path + "state_dim", state_dim,
              "at least 2, as the state is normalized");
  check_range(hidden >= 0, path + "hidden", hidden, "a positive integer, or 0");
  switch (variant) {
    case RegionsVariant::kPaper:
      break;
    case RegionsVariant::kPrefixLm:
      check_range(prefix > 0, path + "prefix", prefix, "a positive integer for prefix_lm");
      break;
    case RegionsVariant::kAnchor:
      check_range(anchor > 0, path + "anchor", anchor, "a positive integer for anchor");
      break;
    case RegionsVariant::kChunked:
    case RegionsVariant::kMultiAnchor:
      check_range(chunk > 0, path + "chunk", chunk,
                  "a positive integer for chunked and multi_anchor");
      break;
  }
  check_range(serial_regions.value_or(0) >= 0, path + "serial_regions", serial_regions.value_or(0),
              "at least 0");
  check_range(columns >= 0, path + "columns", columns, "a positive integer, or 0");
  check_range(noise >= 0, path + "noise", noise, "at least 0");
}

std::int64_t num_regions(const RegionsConfig& config, std::int64_t layers) {
  return (layers + config.layers_per_region - 1) / config.layers_per_region;
}

void RegionsConfig::validate_for(std::int64_t layers, const std::string& path) const {
  check_range(layers_per_region <= layers, path + "layers_per_region", layers_per_region,
              fmt::format("at most the {} layers of the model", layers));
}

}  // namespace ghost
