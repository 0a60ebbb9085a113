#pragma once

#include <span>
#include <vector>

#include "engine/autograd/context.h"

namespace ghost {

/// Positions [begin, end) of a sequence.
struct PositionRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const PositionRange&) const = default;
};
using PositionRanges = std::vector<PositionRange>;

/// Means over ranges of positions, which may overlap.
///
///   y[b, s, c] = mean over t in ranges[s] of x[b, t, c]
///
/// x       [B, T, C]  f32, bf16 or f64
/// ranges  S >= 1, not empty, within T
/// returns y [B, S, C], dtype of x
/// keeps   nothing
/// throws  ghost::Error when there is no range, one is empty or ends behind T
Tensor mean_over_positions(Context& ctx, const Tensor& x, const PositionRanges& ranges);

/// Adds one vector a range to all of its positions.
///
///   y[b, t, c] = x[b, t, c] + sum over s with t in ranges[s] of v[b, s, c]
///
/// x       [B, T, C]  f32, bf16 or f64
/// v       [B, S, C]  dtype of x
/// ranges  S >= 1, within T; one may be empty
/// returns y, shape and dtype of x
/// keeps   nothing
/// throws  ghost::Error when v is not [B, S, C] or a range ends behind T
Tensor add_to_positions(Context& ctx, const Tensor& x, const Tensor& v,
                        const PositionRanges& ranges);

}  // namespace ghost
