#pragma once

#include <vector>

#include "ops/mamba3_core.h"
#include "tests/support/op_check.h"

namespace ghost::test {

struct Mamba3Sizes {
  std::int64_t batch = 1;
  std::int64_t seq_len = 5;
  std::int64_t ranks = 1;
  std::int64_t groups = 1;
  std::int64_t heads = 2;
  std::int64_t head_dim = 3;
  std::int64_t state = 6;
  std::int64_t angles = 2;
};

/// f64 values that a function of the sizes alone decides; no initial state, mimo_x where R > 1.
Mamba3CoreInput random_input(const Mamba3Sizes& sizes);
/// One to start from.
Mamba3State random_state(const Mamba3Sizes& sizes, std::uint64_t seed);

/// The fifteen tensors as inputs of a check, and back; undefined ones stay so.
std::vector<OpInput> to_list(const Mamba3CoreInput& in);
Mamba3CoreInput from_list(const Tensors& in);

}  // namespace ghost::test
