#include <algorithm>
#include <cmath>
#include <limits>
#include <omp.h>

#include "ops/attention_kernels.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/vector_math.h"

namespace ghost::cpu {
namespace {

constexpr std::int64_t kQueryBlock = 128;
constexpr std::int64_t kKeyBlock = 128;
constexpr std::int64_t kBlock = kQueryBlock * kKeyBlock;
// Per thread: scores, their cotangent, and running maximum and sum of each query row.
constexpr std::int64_t kScratch = 2 * kBlock + 2 * kQueryBlock;

/// Where the heads lie in a packed [T, (H + 2 Hkv) D] row.
template <typename T>
struct Packed {
  T* base;  // of one batch entry
  const AttentionShape& shape;

  std::int64_t stride() const { return shape.packed_width(); }
  T* query(std::int64_t head, std::int64_t t) const {
    return base + t * stride() + head * shape.head_dim;
  }
  T* key(std::int64_t kv_head, std::int64_t t) const { return query(shape.heads + kv_head, t); }
  T* value(std::int64_t kv_head, std::int64_t t) const {
    return query(shape.heads + shape.kv_heads + kv_head, t);
  }
};

template <typename T>
T* scratch_of_thread(const Tensor& workspace) {
  return workspace.data<T>() + omp_get_thread_num() * kScratch;
}

template <typename T>
T softmax_scale(const AttentionShape& shape) {
  return 1 / std::sqrt(static_cast<T>(shape.head_dim));
}

/// Number of keys in [key_begin, key_begin + num_keys) that query `t` may see.
std::int64_t visible(std::int64_t t, std::int64_t key_begin, std::int64_t num_keys) {
  return std::clamp<std::int64_t>(t - key_begin + 1, 0, num_keys);
}

// One row of scores: s becomes exp(s - maximum) over the visible keys and 0 over the others; the
// running maximum and sum move on. Returns the factor by which earlier output shrinks.
template <typename T>
T softmax_row(T* s, std::int64_t num_visible, std::int64_t num_keys, T& maximum, T& sum) {
  const T largest = num_visible > 0 ? std::max(maximum, vector_maximum(s, num_visible)) : maximum;
  T row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
  for (std::int64_t j = 0; j < num_visible; ++j) {
    s[j] = vector_exp(s[j] - largest);
    row_sum += s[j];
  }
  std::fill(s + num_visible, s + num_keys, T{0});
  const T shrink = vector_exp(maximum - largest);  // 0 at the first block
  maximum = largest;
  sum = sum * shrink + row_sum;
  return shrink;
}

// Queries [q0, q0 + num_queries) of one head against all keys they may see.
template <typename T>
void forward_block(const AttentionForward& args, std::int64_t batch, std::int64_t head,
                   std::int64_t q0) {
  const AttentionShape& shape = args.shape;
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const std::int64_t width = shape.width();
  const std::int64_t num_queries = std::min(kQueryBlock, seq_len - q0);
  const Packed<const T> qkv{args.qkv.data<T>() + batch * seq_len * shape.packed_width(), shape};
  T* o = args.o.data<T>() + (batch * seq_len + q0) * width + head * shape.head_dim;
  T* lse = args.lse.data<T>() + (batch * shape.heads + head) * seq_len + q0;
  T* scores = scratch_of_thread<T>(args.workspace);
  T* maximum = scores + 2 * kBlock;
  T* sum = maximum + kQueryBlock;
  std::fill_n(maximum, num_queries, -std::numeric_limits<T>::infinity());
  std::fill_n(sum, num_queries, T{0});

  for (std::int64_t k0 = 0; k0 < q0 + num_queries; k0 += kKeyBlock) {
    const std::int64_t num_keys = std::min(kKeyBlock, q0 + num_queries - k0);
    gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, softmax_scale<T>(shape),
         {qkv.query(head, q0), qkv.stride()}, {qkv.key(kv_head, k0), qkv.stride(), Transpose::kYes},
         T{0}, {scores, num_keys});
    for (std::int64_t i = 0; i < num_queries; ++i) {
      const T shrink = softmax_row(scores + i * num_keys, visible(q0 + i, k0, num_keys), num_keys,
                                   maximum[i], sum[i]);
      if (k0 > 0) {
        T* row = o + i * width;
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          row[d] *= shrink;
        }
      }
    }
    gemm({.m = num_queries, .n = shape.head_dim, .k = num_keys}, T{1}, {scores, num_keys},
         {qkv.value(kv_head, k0), qkv.stride()}, k0 == 0 ? T{0} : T{1}, {o, width});
  }
  for (std::int64_t i = 0; i < num_queries; ++i) {
    T* row = o + i * width;
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      row[d] /= sum[i];
    }
    lse[i] = maximum[i] + std::log(sum[i]);
  }
}

template <typename T>
void forward(const AttentionForward& args) {
  const std::int64_t batch = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t num_blocks = (seq_len + kQueryBlock - 1) / kQueryBlock;
#pragma omp parallel for collapse(3) schedule(dynamic)
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t head = 0; head < args.shape.heads; ++head) {
      for (std::int64_t block = 0; block < num_blocks; ++block) {
        // Late blocks see the most keys: they start first.
        forward_block<T>(args, b, head, (num_blocks - 1 - block) * kQueryBlock);
      }
    }
  }
}

// delta[t] = do_t . o_t for one head.
template <typename T>
void row_dots(const T* dout, const T* o, std::int64_t seq_len, const AttentionShape& shape,
              T* delta) {
  for (std::int64_t t = 0; t < seq_len; ++t) {
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      dot += dout[t * shape.width() + d] * o[t * shape.width() + d];
    }
    delta[t] = dot;
  }
}

// All cotangents of one query head and its key-value head. dk and dv of the key-value head are
// overwritten by the first query head of its group and added to by the others.
template <typename T>
void backward_head(const AttentionBackward& args, std::int64_t batch, std::int64_t head) {
  const AttentionShape& shape = args.shape;
  const std::int64_t num_batches = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t basis = args.dout.dim(0);
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t kv_head = head / group;
  const std::int64_t width = shape.width();
  const T scale = softmax_scale<T>(shape);
  const Packed<const T> qkv{args.qkv.data<T>() + batch * seq_len * shape.packed_width(), shape};
  const T* lse = args.lse.data<T>() + (batch * shape.heads + head) * seq_len;
  T* probabilities = scratch_of_thread<T>(args.workspace);
  T* dscores = probabilities + kBlock;

  const auto delta_of = [&](std::int64_t p) {
    return args.delta.data<T>() + ((p * num_batches + batch) * shape.heads + head) * seq_len;
  };
  const auto dout_of = [&](std::int64_t p) {
    return args.dout.data<T>() + (p * num_batches + batch) * seq_len * width +
           head * shape.head_dim;
  };
  for (std::int64_t p = 0; p < basis; ++p) {
    row_dots(dout_of(p), args.o.data<T>() + batch * seq_len * width + head * shape.head_dim,
             seq_len, shape, delta_of(p));
  }

  for (std::int64_t k0 = 0; k0 < seq_len; k0 += kKeyBlock) {
    const std::int64_t num_keys = std::min(kKeyBlock, seq_len - k0);
    for (std::int64_t q0 = k0 / kQueryBlock * kQueryBlock; q0 < seq_len; q0 += kQueryBlock) {
      const std::int64_t num_queries = std::min(kQueryBlock, seq_len - q0);
      gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, scale,
           {qkv.query(head, q0), qkv.stride()},
           {qkv.key(kv_head, k0), qkv.stride(), Transpose::kYes}, T{0}, {probabilities, num_keys});
      for (std::int64_t i = 0; i < num_queries; ++i) {
        T* row = probabilities + i * num_keys;
        const std::int64_t num_visible = visible(q0 + i, k0, num_keys);
        const T row_lse = lse[q0 + i];
#pragma omp simd
        for (std::int64_t j = 0; j < num_visible; ++j) {
          row[j] = vector_exp(row[j] - row_lse);
        }
        std::fill(row + num_visible, row + num_keys, T{0});
      }
      const bool is_first_query_block = q0 <= k0;
      const T keep_kv = is_first_query_block && head % group == 0 ? T{0} : T{1};
      const T keep_q = k0 == 0 ? T{0} : T{1};
      for (std::int64_t p = 0; p < basis; ++p) {
        const Packed<T> dqkv{
            args.dqkv.data<T>() + (p * num_batches + batch) * seq_len * shape.packed_width(),
            shape};
        const T* dout = dout_of(p) + q0 * width;
        const T* delta = delta_of(p) + q0;
        gemm({.m = num_keys, .n = shape.head_dim, .k = num_queries}, T{1},
             {probabilities, num_keys, Transpose::kYes}, {dout, width}, keep_kv,
             {dqkv.value(kv_head, k0), dqkv.stride()});
        gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, T{1}, {dout, width},
             {qkv.value(kv_head, k0), qkv.stride(), Transpose::kYes}, T{0}, {dscores, num_keys});
        for (std::int64_t i = 0; i < num_queries; ++i) {
          T* ds = dscores + i * num_keys;
          const T* pr = probabilities + i * num_keys;
          const T row_delta = delta[i];
#pragma omp simd
          for (std::int64_t j = 0; j < num_keys; ++j) {
            ds[j] = pr[j] * (ds[j] - row_delta);
          }
        }
        gemm({.m = num_queries, .n = shape.head_dim, .k = num_keys}, scale, {dscores, num_keys},
             {qkv.key(kv_head, k0), qkv.stride()}, keep_q, {dqkv.query(head, q0), dqkv.stride()});
        gemm({.m = num_keys, .n = shape.head_dim, .k = num_queries}, scale,
             {dscores, num_keys, Transpose::kYes}, {qkv.query(head, q0), qkv.stride()}, keep_kv,
             {dqkv.key(kv_head, k0), dqkv.stride()});
      }
    }
  }
}

// Threads own whole key-value heads, so nothing is shared and the order of additions is fixed.
template <typename T>
void backward(const AttentionBackward& args) {
  const std::int64_t group = args.shape.heads / args.shape.kv_heads;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (std::int64_t b = 0; b < args.qkv.dim(0); ++b) {
    for (std::int64_t kv_head = 0; kv_head < args.shape.kv_heads; ++kv_head) {
      for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        backward_head<T>(args, b, head);
      }
    }
  }
}

// One query of one head over the cache.
template <typename T>
void attend_cached(const CachedAttention& args, std::int64_t b, std::int64_t head, std::int64_t t) {
  const AttentionShape& shape = args.shape;
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t room = args.keys.dim(1);
  const std::int64_t kv_width = shape.kv_heads * shape.head_dim;
  const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const std::int64_t offset = b * room * kv_width + kv_head * shape.head_dim;
  const std::int64_t num_keys = args.start + t + 1;
  const Packed<const T> qkv{args.qkv.data<T>() + b * seq_len * shape.packed_width(), shape};
  const T* q = qkv.query(head, t);
  const T* keys = args.keys.data<T>() + offset;
  const T* values = args.values.data<T>() + offset;
  T* scores = args.workspace.data<T>() + (b * shape.heads + head) * room;
  for (std::int64_t s = 0; s < num_keys; ++s) {
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      dot += q[d] * keys[s * kv_width + d];
    }
    scores[s] = dot * softmax_scale<T>(shape);
  }
  T maximum = -std::numeric_limits<T>::infinity();
  T sum = 0;
  softmax_row(scores, num_keys, num_keys, maximum, sum);
  T* o = args.o.data<T>() + (b * seq_len + t) * shape.width() + head * shape.head_dim;
  std::fill_n(o, shape.head_dim, T{0});
  for (std::int64_t s = 0; s < num_keys; ++s) {
    const T weight = scores[s] / sum;
#pragma omp simd
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      o[d] += weight * values[s * kv_width + d];
    }
  }
}

template <typename T>
void cached(const CachedAttention& args) {
  const AttentionShape& shape = args.shape;
  const std::int64_t batch = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t room = args.keys.dim(1);
  const std::int64_t kv_width = shape.kv_heads * shape.head_dim;
  for (std::int64_t b = 0; b < batch; ++b) {
    const Packed<const T> qkv{args.qkv.data<T>() + b * seq_len * shape.packed_width(), shape};
    for (std::int64_t t = 0; t < seq_len; ++t) {
      const std::int64_t at = (b * room + args.start + t) * kv_width;
      std::copy_n(qkv.key(0, t), kv_width, args.keys.data<T>() + at);
      std::copy_n(qkv.value(0, t), kv_width, args.values.data<T>() + at);
    }
  }
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      for (std::int64_t t = 0; t < seq_len; ++t) {
        attend_cached<T>(args, b, head, t);
      }
    }
  }
}

}  // namespace

std::int64_t attention_workspace() { return omp_get_max_threads() * kScratch; }

void attention(const AttentionForward& args) {
  visit_real(args.qkv.dtype(), [&]<typename T>() { forward<T>(args); });
}

void attention(const AttentionBackward& args) {
  visit_real(args.qkv.dtype(), [&]<typename T>() { backward<T>(args); });
}

void attention(const CachedAttention& args) {
  visit_real(args.qkv.dtype(), [&]<typename T>() { cached<T>(args); });
}

}  // namespace ghost::cpu
