#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// FLOP/s that the matrix-product library reaches alone on one product (the fastest of a few runs,
/// at least 50 ms in all), with the threads of this process.
double measure_gemm_rate(const GemmShape& shape);

/// FLOP/s over a list of products, each measured alone: total FLOPs / total time.
double measure_gemm_rate(const GemmCounts& counts);

}  // namespace ghost
