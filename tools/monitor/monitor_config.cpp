#include "tools/monitor/monitor_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void MonitorConfig::validate(const std::string& prefix) const {
  check_range(every > 0, prefix + "every", every, "a positive integer");
  check_range(rank > 0, prefix + "rank", rank, "a positive integer");
  check_range(beta >= 0 && beta < 1, prefix + "beta", beta, "0 to below 1");
  check_range(!modules.empty(), prefix + "modules", modules, "a glob over module paths");
  check_range(gradient_columns > 0, prefix + "gradient_columns", gradient_columns,
              "a positive integer");
}

}  // namespace ghost
