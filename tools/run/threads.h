#pragma once

#include <cstdint>

namespace ghost {

/// Threads for all kernels of this process; 0: one a core.
void use_threads(std::int64_t threads);

}  // namespace ghost
