#pragma once

#include <cstdint>

#include "engine/autograd/sketch_config.h"

namespace ghost {

/// How fast the passes of a sketch read their matrix, against reading it and doing next to nothing.
/// All in bytes of the matrix a second, with the threads of this process; the fastest of a few runs
/// over several matrices in turn, so that none waits in a cache.
struct SketchRate {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t rank = 0;
  double read = 0;      // sum of all elements
  double input = 0;     // S X and |X|
  double gradient = 0;  // S dY, |dY| and the bias gradient
  double groups = 0;    // groups of X and their means, where the config has any
};

SketchRate measure_sketch_rate(const SketchConfig& config, std::int64_t rows, std::int64_t columns);

}  // namespace ghost
