#pragma once

#include <cstdint>
#include <vector>

#include "engine/autograd/sketch_config.h"
#include "engine/random/philox.h"

namespace ghost {

/// Columns [first, first + count) of a dense random matrix S [rank, rows], row-major [rank, count],
/// with E[S^T S] = I. An entry is a function of the stream and its place.
///
///   rademacher  +-1 / sqrt(rank)
///   gaussian    normal(0, 1 / rank)
///   srht        sign_b H[pick_r, b] / sqrt(rank), H the Hadamard matrix of +-1 over the next power
///               of two of rows, `rank` of its rows picked without replacement
///
/// source  srht: Ailon and Chazelle 2006; Tropp 2011, arXiv:1011.1595
std::vector<double> dense_sketch_columns(SketchMethod method, const RandomStream& stream,
                                         std::int64_t rank, std::int64_t rows, std::int64_t first,
                                         std::int64_t count);

}  // namespace ghost
