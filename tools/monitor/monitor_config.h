#pragma once

#include <cstdint>
#include <string>

#include "tools/monitor/alarm_rules.h"

namespace ghost {

/// The `monitor` section: what is watched while a run trains. Training itself is the same with it.
struct MonitorConfig {
  std::int64_t every = 20;
  std::int64_t rank = 4;
  double beta = 0.95;
  std::string modules = "*";
  std::int64_t gradient_columns = 8;
  bool exact = false;
  AlarmConfig alarms;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("every", every, "steps between observations, > 0");
    visit("rank", rank, "r of the activation sketches, > 0; they have k = s = 2 r + 1 columns");
    visit("beta", beta, "of the averages over observations, 0 to below 1");
    visit("modules", modules, "glob over module paths: which linears, the head among them");
    visit("gradient_columns", gradient_columns, "q of the gradient sketches, > 0");
    visit("exact", exact,
          "form the exact gradient of observed steps too and compare: for runs whose residuals are "
          "sketches; such a step takes twice as long");
    visit("alarms", alarms, "");
  }
  void validate(const std::string& prefix) const;

  /// k and s.
  std::int64_t columns() const { return 2 * rank + 1; }
};

}  // namespace ghost
