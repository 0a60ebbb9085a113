#pragma once

#include <cstdint>

#include "engine/random/gaussian_matrix.h"

namespace ghost::cuda {

/// The twin of GaussianMatrix::draw, enqueued on the device's stream.
void draw(const GaussianMatrix& matrix, const Tensor& out, std::int64_t first_row,
          std::int64_t first_column);

}  // namespace ghost::cuda
