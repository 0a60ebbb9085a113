#pragma once

#include "engine/autograd/zero_blocks.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// On a token that the table does not have, which only the kernel can see, a CPU throws
/// ghost::Error and a GPU makes the row NaN.
struct EmbeddingForward {
  Tensor tokens;  // [n] i32
  Tensor table;   // [V, C]
  Tensor y;       // [n, C]
};

struct EmbeddingBackward {
  Tensor tokens;  // [n] i32
  Tensor dy;      // [n, C]
  Tensor dtable;  // [V, C]
  bool accumulate_dtable;
  ZeroBlocks* zeros;  // of the buffer in which dtable starts at element `offset`, or null
  std::int64_t offset;
  Tensor workspace;  // cuda::embedding_workspace() u8; undefined on a CPU
};

struct PositionEmbeddingForward {
  Tensor x;      // [B, T, C]
  Tensor table;  // [max_T, C]
  Tensor y;      // [B, T, C]
  std::int64_t start;
};

struct PositionEmbeddingBackward {
  Tensor dy;      // [B, T, C]
  Tensor dtable;  // [max_T, C]
  std::int64_t seq_len;
  std::int64_t start;
  bool accumulate_dtable;
};

namespace cpu {
void embedding(const EmbeddingForward& args);
void embedding(const EmbeddingBackward& args);
void embedding(const PositionEmbeddingForward& args);
void embedding(const PositionEmbeddingBackward& args);
}  // namespace cpu

namespace cuda {
void embedding(const EmbeddingForward& args);
/// Bytes of scratch in which a backward pass sorts its tokens; asks for `tokens` and `dtable` only.
std::int64_t embedding_workspace(const EmbeddingBackward& args);
void embedding(const EmbeddingBackward& args);
void embedding(const PositionEmbeddingForward& args);
void embedding(const PositionEmbeddingBackward& args);
}  // namespace cuda

}  // namespace ghost
