#pragma once

#include <cstdint>

namespace ghost {

/// Most bytes of memory this process has had resident at once (VmHWM); 0 where the system does not
/// tell.
std::int64_t process_peak_bytes();

}  // namespace ghost
