#include "models/mamba2/mamba2_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void Mamba2Config::validate(const std::string& prefix) const {
  check_range(state > 0, prefix + "state", state, "a positive integer");
  check_range(head_dim > 0, prefix + "head_dim", head_dim, "a positive integer");
  check_range(expand > 0, prefix + "expand", expand, "a positive integer");
  check_range(groups > 0, prefix + "groups", groups, "a positive integer");
  check_range(conv >= 2, prefix + "conv", conv, "at least 2");
  check_range(chunk > 0, prefix + "chunk", chunk, "a positive integer");
  check_range(norm_group >= 0, prefix + "norm_group", norm_group, "a positive integer, or 0");
  check_range(dt_min >= 1e-4, prefix + "dt_min", dt_min, "at least 0.0001");
  check_range(dt_max >= dt_min, prefix + "dt_max", dt_max, fmt::format("at least {}", dt_min));
  check_range(
      dt_limit.empty() || (dt_limit.size() == 2 && dt_limit[0] >= 0 && dt_limit[0] <= dt_limit[1]),
      prefix + "dt_limit", fmt::format("[{}]", fmt::join(dt_limit, ", ")),
      "[] or two numbers with 0 <= least <= largest");
  check_range(mlp >= 0, prefix + "mlp", mlp, "a positive integer, or 0");
}

void Mamba2Config::validate_for(std::int64_t channels, const std::string& prefix) const {
  const std::int64_t width = inner(channels);
  check_range(width % head_dim == 0, prefix + "head_dim", head_dim,
              fmt::format("a divisor of the inner width {}", width));
  const std::int64_t heads = width / head_dim;
  check_range(heads % groups == 0, prefix + "groups", groups,
              fmt::format("a divisor of the {} heads", heads));
  check_range(width % norm_group_size(channels) == 0, prefix + "norm_group", norm_group,
              fmt::format("a divisor of the inner width {}", width));
}

}  // namespace ghost
