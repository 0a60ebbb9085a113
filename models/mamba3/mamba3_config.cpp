#include "models/mamba3/mamba3_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void Mamba3Config::validate(const std::string& prefix) const {
  check_range(state > 0, prefix + "state", state, "a positive integer");
  check_range(head_dim > 0, prefix + "head_dim", head_dim, "a positive integer");
  check_range(expand > 0, prefix + "expand", expand, "a positive integer");
  check_range(groups > 0, prefix + "groups", groups, "a positive integer");
  check_range(mimo_rank > 0, prefix + "mimo_rank", mimo_rank, "a positive integer");
  check_range(mimo_rank == 1 || state % 2 == 0, prefix + "state", state,
              "an even number where mimo_rank is above 1, as halves of it turn together");
  check_range(chunk >= 0, prefix + "chunk", chunk, "a positive integer, or 0");
  check_range(rope_fraction == 0.5 || rope_fraction == 1, prefix + "rope_fraction", rope_fraction,
              "0.5 or 1");
  check_range(angles() > 0, prefix + "state", state,
              fmt::format("a state with a pair that turns at rope_fraction {}", rope_fraction));
  check_range(a_floor >= 0, prefix + "a_floor", a_floor, "zero or a positive number");
  check_range(dt_min >= 1e-4, prefix + "dt_min", dt_min, "at least 0.0001");
  check_range(dt_max >= dt_min, prefix + "dt_max", dt_max, fmt::format("at least {}", dt_min));
  check_range(mlp >= 0, prefix + "mlp", mlp, "a positive integer, or 0");
}

void Mamba3Config::validate_for(std::int64_t channels, const std::string& prefix) const {
  const std::int64_t width = inner(channels);
  check_range(width % head_dim == 0, prefix + "head_dim", head_dim,
              fmt::format("a divisor of the inner width {}", width));
  const std::int64_t heads = width / head_dim;
  check_range(heads % groups == 0, prefix + "groups", groups,
              fmt::format("a divisor of the {} heads", heads));
}

}  // namespace ghost
