#include "ops/cuda/attention_paths.h"

namespace ghost::cuda {
namespace {

constexpr std::int64_t kMostHeadDim = 512;  // rows of a backward pass in shared memory: 80 KiB
constexpr std::int64_t kMostBlocks = 0x7fffffff;

void check_sizes(const Tensor& qkv, const AttentionShape& shape) {
  const std::int64_t num_rows = qkv.dim(0) * qkv.dim(1) * shape.heads;
  GHOST_CHECK(shape.head_dim <= kMostHeadDim,
              "attention: heads of {} on a GPU; expected at most {} values", shape.head_dim,
              kMostHeadDim);
  GHOST_CHECK(num_rows <= kMostBlocks,
              "attention: {} rows of heads in a batch on a GPU; expected at most {}", num_rows,
              kMostBlocks);
}

bool has_tiles(const Tensor& qkv, const AttentionShape& shape) {
  const bool is_wide = shape.head_dim == 32 || shape.head_dim == 64 || shape.head_dim == 128;
  return qkv.dtype() == DType::kBF16 && is_wide;
}

template <typename Args>
void run(const Args& args) {
  check_sizes(args.qkv, args.shape);
  if (has_tiles(args.qkv, args.shape)) {
    attention_by_tiles(args);
  } else {
    attention_by_rows(args);
  }
}

}  // namespace

void attention(const AttentionForward& args) { run(args); }
void attention(const AttentionBackward& args) { run(args); }

// An empty cache adds nothing to attention over the prompt. Later, one new token a step leaves
// tensor cores nothing to share between queries.
void attention(const CachedAttention& args) {
  check_sizes(args.qkv, args.shape);
  append_to_cache(args);
  if (args.start == 0 && has_tiles(args.qkv, args.shape)) {
    attention_by_tiles(AttentionForward{.qkv = args.qkv, .o = args.o, .shape = args.shape});
  } else {
    attention_by_rows(args);
  }
}

}  // namespace ghost::cuda
