#pragma once

#include <string_view>

namespace ghost {

/// Catches SIGINT and SIGTERM for its lifetime, so that a run can end between two steps. A second
/// signal ends the process at once. At most one at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const;
  /// "SIGINT" or "SIGTERM"; empty when none came.
  std::string_view name() const;
};

}  // namespace ghost
