#pragma once

#include <vector>

#include "engine/tensor/dtype.h"

namespace ghost::cpu {

/// The elements of a dense sketch as an operand of products with elements of type T.
template <typename T, typename Doubles>
std::vector<T> sketch_matrix(const Doubles& values) {
  std::vector<T> out;
  out.reserve(std::size(values));
  for (const double value : values) {
    out.emplace_back(static_cast<RealOf<T>>(value));
  }
  return out;
}

}  // namespace ghost::cpu
