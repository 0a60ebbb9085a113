#pragma once

#include <string>

#include "engine/autograd/context.h"

namespace ghost {

/// FLOP/s that the matrix-product library reaches alone on one product (the fastest of a few runs,
/// at least 50 ms in all), with the threads of this process; operands of `dtype` (f32, f64, bf16),
/// results of statistic_dtype.
double measure_gemm_rate(const GemmShape& shape, DType dtype);

/// FLOP/s over a list of products, each measured alone: total FLOPs / total time.
double measure_gemm_rate(const GemmCounts& counts, DType dtype);

/// How this CPU multiplies numbers of `dtype`: "f32", "bf16 (AMX)".
std::string products_text(DType dtype);

}  // namespace ghost
