#pragma once

#include "ops/attention_kernels.h"

namespace ghost::cuda {

// The two ways of ops/cuda/attention.cpp.

/// Any head size up to 512, f32 or bf16: a block or a warp per row, f32 arithmetic.
void attention_by_rows(const AttentionForward& args);
void attention_by_rows(const AttentionBackward& args);
/// Over a cache that has the new tokens.
void attention_by_rows(const CachedAttention& args);

/// The first half of cached attention: keys and values of new tokens take their places.
void append_to_cache(const CachedAttention& args);

/// bf16 with heads of 32, 64 or 128 on tensor cores. `lse` may be undefined.
void attention_by_tiles(const AttentionForward& args);
void attention_by_tiles(const AttentionBackward& args);

/// delta of a backward pass: rowsum(do * o), for both.
void attention_row_dots(const AttentionBackward& args);

}  // namespace ghost::cuda
