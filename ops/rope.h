#pragma once

#include "engine/autograd/context.h"

namespace ghost {

enum class RopePairs {
  kInterleaved,  // channels 2i and 2i + 1, as in the paper
  kHalves,       // channels i and i + d / 2, as in GPT-NeoX and Llama checkpoints
};

struct RopeOptions {
  std::int64_t heads = 0;          // in x, all of them
  std::int64_t head_dim = 0;       // channels a head
  std::int64_t rotated_heads = 0;  // the first so many turn (q and k), the others pass (v)
  double base = 10000;             // > 0
  double fraction = 1;             // share of head_dim that turns, from its first channel on
  std::int64_t start = 0;          // position of the first row
  RopePairs pairs = RopePairs::kHalves;
};

/// Rotary position embedding: turns pairs of channels by angles that grow with the position, so
/// that scores q . k depend on relative positions only.
///
///   (a, b) -> (a cos - b sin, a sin + b cos),   angle = (start + t) * base^(-2 i / d)
///
/// with pair i of d / 2, d = fraction * head_dim; angles in f64.
///
/// x       [B, T, heads * head_dim] or [B, T, heads, head_dim]  f32, bf16 or f64
/// returns y, shape and dtype of x
/// keeps   nothing: backward turns by the negative angles
/// throws  ghost::Error when x does not have these heads, rotated_heads is not in 1 to heads,
///         d is not an even number in 2 to head_dim, or base <= 0
/// source  Su et al. 2021, arXiv:2104.09864, equations 15 and 34
Tensor rope(Context& ctx, const Tensor& x, const RopeOptions& options);

}  // namespace ghost
