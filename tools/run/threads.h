#pragma once

#include <cstdint>

namespace ghost {

/// Sets how many threads ops use, as `train.threads` says: 0 stands for one a core.
void set_threads(std::int64_t threads);

}  // namespace ghost
