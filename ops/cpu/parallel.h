#pragma once

#include <cstdint>

namespace ghost::cpu {

/// Below this many elements a parallel region costs more than it saves.
inline constexpr std::int64_t kParallelElements = 1 << 14;

}  // namespace ghost::cpu
