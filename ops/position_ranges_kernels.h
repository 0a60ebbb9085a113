#pragma once

#include "ops/position_ranges.h"

namespace ghost {

enum class RangeWeight {
  kOne,
  kMean,  // 1 / size of the range
};

/// v[n, s, c] = weight of s * sum over t in ranges[s] of x[n, t, c]
struct SumOverRanges {
  Tensor x;  // [n, T, C]
  Tensor v;  // [n, S, C]
  const PositionRanges& ranges;
  RangeWeight weight;
};

/// y[n, t, c] = x[n, t, c] + sum over s with t in ranges[s] of weight of s * v[n, s, c]
struct AddToRanges {
  Tensor x;  // [n, T, C], or undefined: 0
  Tensor v;  // [n, S, C]
  Tensor y;  // [n, T, C]
  const PositionRanges& ranges;
  RangeWeight weight;
};

namespace cpu {
void position_ranges(const SumOverRanges& args);
void position_ranges(const AddToRanges& args);
}  // namespace cpu

namespace cuda {
void position_ranges(const SumOverRanges& args);
void position_ranges(const AddToRanges& args);
}  // namespace cuda

}  // namespace ghost
