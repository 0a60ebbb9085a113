#pragma once

#include <cstdint>

namespace ghost::cuda {

// The cores of Mamba-2 and Mamba-3 on a GPU share one form: a state a head under
//
//   h_t = e^{a_t} h_{t-1} + sum over ranks of (x_t k_t^T),   o_t = h_t q_t + D x_t
//
// with weights on x, in chunks of L tokens. Every operand is laid out by head, a chunk after the
// other and the last one filled up with zeros, so that a product over all chunks, heads and batch
// entries is one batch with one stride.
//
// Everything but the products is a step: a struct of pointers whose operator() computes one element
// or, with the lanes of a warp, one row. Steps are free of CUDA, and constexpr so that nvcc
// compiles them for both sides: a test on any machine runs a whole pass of them against the CPU's
// kernels, a row by one lane.

/// E batch entries, M = ceil(T / L) chunks. A block is one chunk of one head of one entry.
struct ChunkSizes {
  std::int64_t entries;   // E
  std::int64_t seq_len;   // T
  std::int64_t heads;     // H
  std::int64_t ranks;     // R, rows a token
  std::int64_t head_dim;  // P
  std::int64_t state;     // N
  std::int64_t chunk;     // L tokens

  constexpr std::int64_t num_chunks() const { return (seq_len + chunk - 1) / chunk; }
  constexpr std::int64_t blocks() const { return entries * num_chunks() * heads; }
  constexpr std::int64_t tokens() const { return blocks() * chunk; }  // of all heads, with padding
  constexpr std::int64_t block_rows() const { return chunk * ranks; }
  constexpr std::int64_t rows() const { return tokens() * ranks; }
  constexpr std::int64_t head_state() const { return head_dim * state; }
  constexpr std::int64_t states() const { return entries * heads * head_state(); }
};

/// Batch entries that are worked on at once: scratch grows with them, and so many tokens fill a
/// GPU.
constexpr std::int64_t entries_at_once(std::int64_t batch, std::int64_t seq_len) {
  constexpr std::int64_t kTokens = 8192;
  const std::int64_t entries = seq_len > kTokens ? 1 : kTokens / seq_len;
  return entries < batch ? entries : batch;
}

/// index = outer * size + inner. In 32 bits: a GPU takes long over divisions in 64.
struct Split {
  std::uint32_t outer;
  std::uint32_t inner;
};
constexpr Split split(std::uint32_t index, std::int64_t size) {
  const auto divisor = static_cast<std::uint32_t>(size);
  return {.outer = index / divisor, .inner = index % divisor};
}

/// Block number b of [E, M, H].
struct BlockAt {
  std::int64_t entry;
  std::int64_t chunk;
  std::int64_t head;
};
constexpr BlockAt block_at(const ChunkSizes& n, std::uint32_t block) {
  const Split by_head = split(block, n.heads);
  const Split by_chunk = split(by_head.outer, n.num_chunks());
  return {.entry = by_chunk.outer, .chunk = by_chunk.inner, .head = by_head.inner};
}
constexpr std::int64_t block_of(const ChunkSizes& n, std::int64_t entry, std::int64_t chunk,
                                std::int64_t head) {
  return (entry * n.num_chunks() + chunk) * n.heads + head;
}

/// Number i of [E, M, H, L]: a token as one head sees it.
struct TokenAt {
  std::int64_t entry;
  std::int64_t head;
  std::int64_t block;
  std::int64_t local;  // within its chunk
  std::int64_t t;      // within the sequence
  bool is_there;       // t < T

  /// In tensors [E, T, H].
  constexpr std::int64_t scalar(const ChunkSizes& n) const {
    return (entry * n.seq_len + t) * n.heads + head;
  }
};
constexpr TokenAt token_at(const ChunkSizes& n, std::uint32_t index) {
  const Split by_token = split(index, n.chunk);
  const BlockAt at = block_at(n, by_token.outer);
  const std::int64_t t = at.chunk * n.chunk + by_token.inner;
  return {.entry = at.entry,
          .head = at.head,
          .block = by_token.outer,
          .local = by_token.inner,
          .t = t,
          .is_there = t < n.seq_len};
}
/// Where token t of [E, T] lies in [E, M, H, L].
constexpr std::int64_t token_of(const ChunkSizes& n, std::int64_t entry, std::int64_t t,
                                std::int64_t head) {
  return block_of(n, entry, t / n.chunk, head) * n.chunk + t % n.chunk;
}

/// Number i of [E, H, P, N]: one number of a state, which the scans follow through the chunks.
struct StateAt {
  std::int64_t entry;
  std::int64_t head;
  std::int64_t inner;  // of P N

  constexpr std::int64_t in_chunk(const ChunkSizes& n, std::int64_t chunk) const {
    return block_of(n, entry, chunk, head) * n.head_state() + inner;
  }
};
constexpr StateAt state_at(const ChunkSizes& n, std::uint32_t index) {
  const Split by_state = split(index, n.head_state());
  const Split by_head = split(by_state.outer, n.heads);
  return {.entry = by_head.outer, .head = by_head.inner, .inner = by_state.inner};
}

/// Rows of heads in a tensor [E, T, R, H, P], or [E, T, ...] of which only a part is that.
struct HeadRows {
  std::int64_t token_stride;
  std::int64_t rank_stride;

  constexpr std::int64_t at(const ChunkSizes& n, const TokenAt& token, std::int64_t rank) const {
    return (token.entry * n.seq_len + token.t) * token_stride + rank * rank_stride +
           token.head * n.head_dim;
  }
};
constexpr HeadRows contiguous_rows(const ChunkSizes& n) {
  const std::int64_t inner = n.heads * n.head_dim;
  return {.token_stride = n.ranks * inner, .rank_stride = inner};
}

}  // namespace ghost::cuda
