#include <algorithm>
#include <omp.h>

#include "engine/tensor/primitives.h"
#include "ops/cpu/parallel.h"
#include "ops/embedding_kernels.h"

namespace ghost::cpu {
namespace {

void check_tokens(const std::int32_t* tokens, std::int64_t n, std::int64_t vocab_size) {
  for (std::int64_t i = 0; i < n; ++i) {
    GHOST_CHECK(tokens[i] >= 0 && tokens[i] < vocab_size,
                "embedding: token {} at position {}; expected less than vocab_size {}", tokens[i],
                i, vocab_size);
  }
}

template <typename T>
void forward(const EmbeddingForward& args) {
  const std::int64_t n = args.tokens.numel();
  const std::int64_t channels = args.table.dim(1);
  const std::int32_t* tokens = args.tokens.data<std::int32_t>();
  check_tokens(tokens, n, args.table.dim(0));
#pragma omp parallel for schedule(static) if (args.y.numel() > kParallelElements)
  for (std::int64_t i = 0; i < n; ++i) {
    std::copy_n(args.table.data<T>() + tokens[i] * channels, channels,
                args.y.data<T>() + i * channels);
  }
}

// Clears what the step before left, and notes it; a block that is another parameter's too is
// cleared in part and not noted.
template <typename Real>
void clear(const EmbeddingBackward& args) {
  constexpr std::int64_t kBlock = ZeroBlocks::kElements;
  const std::int64_t begin = args.offset;
  const std::int64_t end = args.offset + args.dtable.numel();
  const std::int64_t last_block = (end - 1) / kBlock;
  Real* flat = args.dtable.data<Real>() - begin;
#pragma omp parallel for schedule(static) if (args.dtable.numel() > kParallelElements)
  for (std::int64_t block = begin / kBlock; block <= last_block; ++block) {
    if (args.zeros->is_zero(block)) {
      continue;
    }
    const std::int64_t first = std::max(begin, block * kBlock);
    const std::int64_t last = std::min(end, (block + 1) * kBlock);
    std::fill(flat + first, flat + last, Real{0});
    if (last - first == kBlock) {
      args.zeros->set_zero(block);
    }
  }
}

// Threads own columns, not rows: each walks all positions in order and adds to its own columns, so
// there are no conflicts and the result is the same on any number of threads.
template <typename T>
void backward(const EmbeddingBackward& args) {
  constexpr std::int64_t kColumns = 64 / sizeof(RealOf<T>);  // one cache line
  const std::int64_t n = args.tokens.numel();
  const std::int64_t channels = args.dtable.dim(1);
  const std::int32_t* tokens = args.tokens.data<std::int32_t>();
  const std::int64_t groups = (channels + kColumns - 1) / kColumns;
  if (args.zeros == nullptr) {
    if (!args.accumulate_dtable) {
      fill_zero(args.dtable);
    }
  } else {
    if (!args.accumulate_dtable) {
      clear<RealOf<T>>(args);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t row = args.offset + tokens[i] * channels;
      args.zeros->forget(row, row + channels);
    }
  }
#pragma omp parallel if (args.dy.numel() > kParallelElements)
  {
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    const std::int64_t begin = std::min(channels, groups * thread / threads * kColumns);
    const std::int64_t end = std::min(channels, groups * (thread + 1) / threads * kColumns);
    for (std::int64_t i = 0; i < n; ++i) {
      const T* dy = args.dy.data<T>() + i * channels;
      RealOf<T>* row = args.dtable.data<RealOf<T>>() + tokens[i] * channels;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) {
        row[c] += widen(dy[c]);
      }
    }
  }
}

template <typename T>
void forward(const PositionEmbeddingForward& args) {
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t rows = args.x.dim(0) * seq_len;
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = args.x.data<T>() + row * channels;
    const T* position = args.table.data<T>() + (args.start + row % seq_len) * channels;
    T* y = args.y.data<T>() + row * channels;
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) {
      put(y[c], widen(x[c]) + widen(position[c]));
    }
  }
}

// Threads own positions; each adds the batch in order.
template <typename T>
void backward(const PositionEmbeddingBackward& args) {
  const std::int64_t seq_len = args.seq_len;
  const std::int64_t channels = args.dtable.dim(1);
  const std::int64_t batch = args.dy.numel() / (seq_len * channels);
  if (!args.accumulate_dtable) {
    fill_zero(args.dtable);
  }
#pragma omp parallel for schedule(static) if (args.dy.numel() > kParallelElements)
  for (std::int64_t t = 0; t < seq_len; ++t) {
    RealOf<T>* row = args.dtable.data<RealOf<T>>() + (args.start + t) * channels;
    for (std::int64_t b = 0; b < batch; ++b) {
      const T* dy = args.dy.data<T>() + (b * seq_len + t) * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) {
        row[c] += widen(dy[c]);
      }
    }
  }
}

}  // namespace

void embedding(const EmbeddingForward& args) {
  visit_floating(args.table.dtype(), [&]<typename T>() { forward<T>(args); });
}

void embedding(const EmbeddingBackward& args) {
  visit_floating(args.dy.dtype(), [&]<typename T>() { backward<T>(args); });
}

void embedding(const PositionEmbeddingForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void embedding(const PositionEmbeddingBackward& args) {
  visit_floating(args.dy.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
