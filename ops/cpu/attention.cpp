#include <algorithm>
#include <cmath>
#include <limits>
#include <omp.h>
#include <type_traits>
#include <vector>

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
// In bf16 also scores and cotangents as operands of products, half a number each.
constexpr std::int64_t kNarrowScratch = kScratch + kBlock;

/// The heads of one batch entry: side by side in rows [T, heads D], or one after the other
/// [heads, T, D].
template <typename T>
struct Heads {
  T* base;
  std::int64_t stride;  // between tokens
  std::int64_t head_stride;

  static Heads side_by_side(T* base, std::int64_t heads, std::int64_t head_dim) {
    return {base, heads * head_dim, head_dim};
  }
  static Heads apart(T* base, std::int64_t seq_len, std::int64_t head_dim) {
    return {base, head_dim, seq_len * head_dim};
  }
  T* at(std::int64_t head, std::int64_t t) const { return base + t * stride + head * head_stride; }
};

/// Those of qkv: queries, keys, values.
template <typename T>
struct QkvHeads : Heads<T> {
  std::int64_t heads;
  std::int64_t kv_heads;

  QkvHeads(const Heads<T>& all, const AttentionShape& shape)
      : Heads<T>(all), heads(shape.heads), kv_heads(shape.kv_heads) {}
  /// Of rows [T, (H + 2 Hkv) D].
  QkvHeads(T* rows, const AttentionShape& shape)
      : QkvHeads(Heads<T>::side_by_side(rows, shape.heads + 2 * shape.kv_heads, shape.head_dim),
                 shape) {}

  T* query(std::int64_t head, std::int64_t t) const { return this->at(head, t); }
  T* key(std::int64_t kv_head, std::int64_t t) const { return this->at(heads + kv_head, t); }
  T* value(std::int64_t kv_head, std::int64_t t) const {
    return this->at(heads + kv_heads + kv_head, t);
  }
};

/// Whether what is summed up over blocks needs a place of its own: results are narrower than sums.
template <typename T>
constexpr bool kIsNarrow = !std::is_same_v<T, RealOf<T>>;

/// A thread's part of the workspace.
template <typename T>
struct Scratch {
  using Real = RealOf<T>;

  Real* scores;   // [queries, keys] of a block
  Real* dscores;  // likewise
  Real* maximum;  // [queries]
  Real* sum;      // [queries]
  // As operands of products; of f32 and f64 they are scores and dscores.
  T* narrow_scores;
  T* narrow_dscores;
  Real* sums;  // for results to be rounded once; null where they are as wide

  /// The first `shared` elements of the workspace are of all threads.
  Scratch(const Tensor& workspace, std::int64_t shared) {
    Real* base = workspace.data<Real>() + shared +
                 (workspace.numel() - shared) / omp_get_max_threads() * omp_get_thread_num();
    scores = base;
    dscores = scores + kBlock;
    maximum = dscores + kBlock;
    sum = maximum + kQueryBlock;
    if constexpr (kIsNarrow<T>) {
      narrow_scores = reinterpret_cast<T*>(base + kScratch);
      narrow_dscores = narrow_scores + kBlock;
      sums = base + kNarrowScratch;
    } else {
      narrow_scores = scores;
      narrow_dscores = dscores;
      sums = nullptr;
    }
  }
};

/// to [batches, heads, T, D] = rows [batches, T, heads D].
template <typename T>
void part_heads(const T* rows, std::int64_t batches, std::int64_t seq_len, std::int64_t heads,
                std::int64_t head_dim, T* to) {
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t b = 0; b < batches; ++b) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const T* from = rows + b * seq_len * heads * head_dim + head * head_dim;
      T* out = to + (b * heads + head) * seq_len * head_dim;
      for (std::int64_t t = 0; t < seq_len; ++t) {
        std::copy_n(from + t * heads * head_dim, head_dim, out + t * head_dim);
      }
    }
  }
}

/// An operand in rows [batches, T, heads D] where kernels read it: there, or of bf16 in a copy with
/// its heads apart, as oneDNN's fast products in bf16 take matrices without gaps only (the others
/// take three times as long).
template <typename T>
class Operand {
 public:
  /// Elements of the workspace for the copy.
  static std::int64_t copy_size(std::int64_t numel) { return kIsNarrow<T> ? (numel + 1) / 2 : 0; }

  Operand(const Tensor& rows, std::int64_t seq_len, std::int64_t heads, std::int64_t head_dim,
          [[maybe_unused]] RealOf<T>* copy)
      : rows_(rows.data<T>()), seq_len_(seq_len), heads_(heads), head_dim_(head_dim) {
    if constexpr (kIsNarrow<T>) {
      T* apart = reinterpret_cast<T*>(copy);
      part_heads(rows_, rows.numel() / (seq_len * heads * head_dim), seq_len, heads, head_dim,
                 apart);
      rows_ = apart;
    }
  }

  Heads<const T> of(std::int64_t batch) const {
    const T* base = rows_ + batch * seq_len_ * heads_ * head_dim_;
    return kIsNarrow<T> ? Heads<const T>::apart(base, seq_len_, head_dim_)
                        : Heads<const T>::side_by_side(base, heads_, head_dim_);
  }

 private:
  const T* rows_;
  std::int64_t seq_len_;
  std::int64_t heads_;
  std::int64_t head_dim_;
};

/// Rows that sums are formed in.
template <typename Real>
struct SumRows {
  Real* data;
  std::int64_t stride;

  Matrix<Real> from(std::int64_t row) const { return {data + row * stride, stride}; }
};

/// to = from, rounded; rows [0, rows) of both.
template <typename T>
void round_rows(const SumRows<RealOf<T>>& from, std::int64_t rows, std::int64_t cols, T* to,
                std::int64_t stride) {
  for (std::int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      put(to[row * stride + c], from.data[row * from.stride + c]);
    }
  }
}

template <typename Real>
Real softmax_scale(const AttentionShape& shape) {
  return 1 / std::sqrt(static_cast<Real>(shape.head_dim));
}

/// The same in two factors: products in f32 and f64 take it for nothing; fast ones in bf16 have no
/// place for it, and scores are scaled as they are read.
template <typename T>
struct ScoreScale {
  RealOf<T> in_product = 1;
  RealOf<T> after = 1;

  explicit ScoreScale(const AttentionShape& shape) {
    (kIsNarrow<T> ? after : in_product) = softmax_scale<RealOf<T>>(shape);
  }
};

/// Number of keys in [key_begin, key_begin + num_keys) that query `t` may see.
std::int64_t visible(std::int64_t t, std::int64_t key_begin, std::int64_t num_keys) {
  return std::clamp<std::int64_t>(t - key_begin + 1, 0, num_keys);
}

// One row of products s = q k: p becomes exp(scale s - maximum) over the visible keys and 0 over
// the others, and may be the same row as s; the running maximum and sum move on. Returns the factor
// by which earlier output shrinks.
template <typename T, typename Real>
Real softmax_row(const Real* s, Real scale, T* p, std::int64_t num_visible, std::int64_t num_keys,
                 Real& maximum, Real& sum) {
  const Real largest =
      num_visible > 0 ? std::max(maximum, scale * vector_maximum(s, num_visible)) : maximum;
  Real row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
  for (std::int64_t j = 0; j < num_visible; ++j) {
    const Real e = vector_exp(scale * s[j] - largest);
    put(p[j], e);
    row_sum += e;
  }
  std::fill(p + num_visible, p + num_keys, T{});
  const Real shrink = vector_exp(maximum - largest);  // 0 at the first block
  maximum = largest;
  sum = sum * shrink + row_sum;
  return shrink;
}

// Queries [q0, q0 + num_queries) of one head against all keys they may see.
template <typename T>
void forward_block(const AttentionForward& args, const Operand<T>& operand, std::int64_t batch,
                   std::int64_t head, std::int64_t q0) {
  using Real = RealOf<T>;
  const AttentionShape& shape = args.shape;
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const std::int64_t width = shape.width();
  const std::int64_t num_queries = std::min(kQueryBlock, seq_len - q0);
  const QkvHeads<const T> qkv(operand.of(batch), shape);
  T* o = args.o.data<T>() + (batch * seq_len + q0) * width + head * shape.head_dim;
  Real* lse = args.lse.data<Real>() + (batch * shape.heads + head) * seq_len + q0;
  const Scratch<T> scratch(args.workspace, Operand<T>::copy_size(args.qkv.numel()));
  SumRows<Real> sums{scratch.sums, shape.head_dim};
  if constexpr (!kIsNarrow<T>) {
    sums = {o, width};
  }
  const ScoreScale<T> scale(shape);
  std::fill_n(scratch.maximum, num_queries, -std::numeric_limits<Real>::infinity());
  std::fill_n(scratch.sum, num_queries, Real{0});

  for (std::int64_t k0 = 0; k0 < q0 + num_queries; k0 += kKeyBlock) {
    const std::int64_t num_keys = std::min(kKeyBlock, q0 + num_queries - k0);
    gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, scale.in_product,
         Matrix<const T>{qkv.query(head, q0), qkv.stride},
         {qkv.key(kv_head, k0), qkv.stride, Transpose::kYes}, Real{0},
         Matrix<Real>{scratch.scores, num_keys});
    for (std::int64_t i = 0; i < num_queries; ++i) {
      const Real shrink = softmax_row(
          scratch.scores + i * num_keys, scale.after, scratch.narrow_scores + i * num_keys,
          visible(q0 + i, k0, num_keys), num_keys, scratch.maximum[i], scratch.sum[i]);
      if (k0 > 0) {
        Real* row = sums.data + i * sums.stride;
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          row[d] *= shrink;
        }
      }
    }
    gemm({.m = num_queries, .n = shape.head_dim, .k = num_keys}, Real{1},
         Matrix<const T>{scratch.narrow_scores, num_keys}, {qkv.value(kv_head, k0), qkv.stride},
         k0 == 0 ? Real{0} : Real{1}, sums.from(0));
  }
  for (std::int64_t i = 0; i < num_queries; ++i) {
    const Real* row = sums.data + i * sums.stride;
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      put(o[i * width + d], row[d] / scratch.sum[i]);
    }
    lse[i] = scratch.maximum[i] + std::log(scratch.sum[i]);
  }
}

template <typename T>
void forward(const AttentionForward& args) {
  const std::int64_t batch = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t num_blocks = (seq_len + kQueryBlock - 1) / kQueryBlock;
  const Operand<T> qkv(args.qkv, seq_len, args.shape.heads + 2 * args.shape.kv_heads,
                       args.shape.head_dim, args.workspace.data<RealOf<T>>());
#pragma omp parallel for collapse(3) schedule(dynamic)
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t head = 0; head < args.shape.heads; ++head) {
      for (std::int64_t block = 0; block < num_blocks; ++block) {
        // Late blocks see the most keys: they start first.
        forward_block<T>(args, qkv, b, head, (num_blocks - 1 - block) * kQueryBlock);
      }
    }
  }
}

// delta[t] = do_t . o_t for one head.
template <typename T>
void row_dots(const T* dout, const T* o, std::int64_t seq_len, const AttentionShape& shape,
              RealOf<T>* delta) {
  for (std::int64_t t = 0; t < seq_len; ++t) {
    RealOf<T> dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      dot += widen(dout[t * shape.width() + d]) * widen(o[t * shape.width() + d]);
    }
    delta[t] = dot;
  }
}

/// Where the cotangents of one query head and its key-value head are summed up, for one of P.
template <typename Real>
struct HeadSums {
  SumRows<Real> query;
  SumRows<Real> key;
  SumRows<Real> value;
};

/// The cotangents themselves: where they are as wide as sums, sums are formed there.
template <typename T>
struct HeadCotangents {
  T* query;
  T* key;
  T* value;
  std::int64_t stride;

  HeadCotangents(const AttentionBackward& args, std::int64_t p, std::int64_t batch,
                 std::int64_t head, std::int64_t kv_head)
      : stride(args.shape.packed_width()) {
    const std::int64_t entry = p * args.qkv.dim(0) + batch;
    const QkvHeads<T> all(args.dqkv.data<T>() + entry * args.qkv.dim(1) * stride, args.shape);
    query = all.query(head, 0);
    key = all.key(kv_head, 0);
    value = all.value(kv_head, 0);
  }

  HeadSums<RealOf<T>> sums(const Scratch<T>& scratch, std::int64_t p, std::int64_t seq_len,
                           std::int64_t head_dim) const {
    if constexpr (kIsNarrow<T>) {
      const std::int64_t size = seq_len * head_dim;
      float* base = scratch.sums + p * 3 * size;
      return {{base, head_dim}, {base + size, head_dim}, {base + 2 * size, head_dim}};
    } else {
      return {{query, stride}, {key, stride}, {value, stride}};
    }
  }
};

/// What all heads read. Copies of it take the first `shared` elements of the workspace.
template <typename T>
struct BackwardOperands {
  std::int64_t shared;
  Operand<T> qkv;
  Operand<T> dout;

  explicit BackwardOperands(const AttentionBackward& args)
      : shared(Operand<T>::copy_size(args.qkv.numel()) + Operand<T>::copy_size(args.dout.numel())),
        qkv(args.qkv, args.qkv.dim(1), args.shape.heads + 2 * args.shape.kv_heads,
            args.shape.head_dim, args.workspace.data<RealOf<T>>()),
        dout(args.dout, args.qkv.dim(1), args.shape.heads, args.shape.head_dim,
             args.workspace.data<RealOf<T>>() + Operand<T>::copy_size(args.qkv.numel())) {}
};

// All cotangents of one query head and its key-value head. Sums for the key-value head are
// overwritten by the first query head of its group and added to by the others.
template <typename T>
void backward_head(const AttentionBackward& args, const BackwardOperands<T>& operands,
                   std::int64_t batch, std::int64_t head) {
  using Real = RealOf<T>;
  const AttentionShape& shape = args.shape;
  const std::int64_t num_batches = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t basis = args.dout.dim(0);
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t kv_head = head / group;
  const std::int64_t width = shape.width();
  const ScoreScale<T> scale(shape);
  const QkvHeads<const T> qkv(operands.qkv.of(batch), shape);
  const Real* lse = args.lse.data<Real>() + (batch * shape.heads + head) * seq_len;
  const Scratch<T> scratch(args.workspace, operands.shared);
  Real* probabilities = scratch.scores;
  Real* dscores = scratch.dscores;

  const auto delta_of = [&](std::int64_t p) {
    return args.delta.data<Real>() + ((p * num_batches + batch) * shape.heads + head) * seq_len;
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
      gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, scale.in_product,
           Matrix<const T>{qkv.query(head, q0), qkv.stride},
           {qkv.key(kv_head, k0), qkv.stride, Transpose::kYes}, Real{0},
           Matrix<Real>{probabilities, num_keys});
      for (std::int64_t i = 0; i < num_queries; ++i) {
        Real* row = probabilities + i * num_keys;
        T* narrow = scratch.narrow_scores + i * num_keys;
        const std::int64_t num_visible = visible(q0 + i, k0, num_keys);
        const Real row_lse = lse[q0 + i];
#pragma omp simd
        for (std::int64_t j = 0; j < num_visible; ++j) {
          const Real e = vector_exp(scale.after * row[j] - row_lse);
          row[j] = e;
          put(narrow[j], e);
        }
        std::fill(row + num_visible, row + num_keys, Real{0});
        std::fill(narrow + num_visible, narrow + num_keys, T{});
      }
      const bool is_first_query_block = q0 <= k0;
      const Real keep_kv = is_first_query_block && head % group == 0 ? Real{0} : Real{1};
      const Real keep_q = k0 == 0 ? Real{0} : Real{1};
      for (std::int64_t p = 0; p < basis; ++p) {
        const HeadSums<Real> sums = HeadCotangents<T>(args, p, batch, head, kv_head)
                                        .sums(scratch, p, seq_len, shape.head_dim);
        const Heads<const T> douts = operands.dout.of(p * num_batches + batch);
        const Matrix<const T> dout{douts.at(head, q0), douts.stride};
        const Real* delta = delta_of(p) + q0;
        gemm({.m = num_keys, .n = shape.head_dim, .k = num_queries}, Real{1},
             Matrix<const T>{scratch.narrow_scores, num_keys, Transpose::kYes}, dout, keep_kv,
             sums.value.from(k0));
        gemm({.m = num_queries, .n = num_keys, .k = shape.head_dim}, Real{1}, dout,
             {qkv.value(kv_head, k0), qkv.stride, Transpose::kYes}, Real{0},
             Matrix<Real>{dscores, num_keys});
        for (std::int64_t i = 0; i < num_queries; ++i) {
          const Real* dp = dscores + i * num_keys;
          T* ds = scratch.narrow_dscores + i * num_keys;
          const Real* pr = probabilities + i * num_keys;
          const Real row_delta = delta[i];
#pragma omp simd
          for (std::int64_t j = 0; j < num_keys; ++j) {
            put(ds[j], scale.after * pr[j] * (dp[j] - row_delta));
          }
        }
        gemm({.m = num_queries, .n = shape.head_dim, .k = num_keys}, scale.in_product,
             Matrix<const T>{scratch.narrow_dscores, num_keys}, {qkv.key(kv_head, k0), qkv.stride},
             keep_q, sums.query.from(q0));
        gemm({.m = num_keys, .n = shape.head_dim, .k = num_queries}, scale.in_product,
             Matrix<const T>{scratch.narrow_dscores, num_keys, Transpose::kYes},
             {qkv.query(head, q0), qkv.stride}, keep_kv, sums.key.from(k0));
      }
    }
  }
  if constexpr (kIsNarrow<T>) {
    for (std::int64_t p = 0; p < basis; ++p) {
      const HeadCotangents<T> to(args, p, batch, head, kv_head);
      const HeadSums<Real> sums = to.sums(scratch, p, seq_len, shape.head_dim);
      round_rows(sums.query, seq_len, shape.head_dim, to.query, to.stride);
      if (head % group == group - 1) {
        round_rows(sums.key, seq_len, shape.head_dim, to.key, to.stride);
        round_rows(sums.value, seq_len, shape.head_dim, to.value, to.stride);
      }
    }
  }
}

// Threads own whole key-value heads, so nothing is shared and the order of additions is fixed.
template <typename T>
void backward(const AttentionBackward& args) {
  const std::int64_t group = args.shape.heads / args.shape.kv_heads;
  const BackwardOperands<T> operands(args);
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (std::int64_t b = 0; b < args.qkv.dim(0); ++b) {
    for (std::int64_t kv_head = 0; kv_head < args.shape.kv_heads; ++kv_head) {
      for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        backward_head<T>(args, operands, b, head);
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
  const QkvHeads<const T> qkv(args.qkv.data<T>() + b * seq_len * shape.packed_width(), shape);
  const T* q = qkv.query(head, t);
  const T* keys = args.keys.data<T>() + offset;
  const T* values = args.values.data<T>() + offset;
  using Real = RealOf<T>;
  Real* scores = args.workspace.data<Real>() + (b * shape.heads + head) * room;
  for (std::int64_t s = 0; s < num_keys; ++s) {
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      dot += widen(q[d]) * widen(keys[s * kv_width + d]);
    }
    scores[s] = dot;
  }
  Real maximum = -std::numeric_limits<Real>::infinity();
  Real sum = 0;
  softmax_row(scores, softmax_scale<Real>(shape), scores, num_keys, num_keys, maximum, sum);
  std::vector<Real> mean(static_cast<std::size_t>(shape.head_dim), Real{0});
  for (std::int64_t s = 0; s < num_keys; ++s) {
    const Real weight = scores[s] / sum;
#pragma omp simd
    for (std::int64_t d = 0; d < shape.head_dim; ++d) {
      mean[static_cast<std::size_t>(d)] += weight * widen(values[s * kv_width + d]);
    }
  }
  T* o = args.o.data<T>() + (b * seq_len + t) * shape.width() + head * shape.head_dim;
  round_rows(SumRows<Real>{mean.data(), shape.head_dim}, 1, shape.head_dim, o, shape.head_dim);
}

template <typename T>
void cached(const CachedAttention& args) {
  const AttentionShape& shape = args.shape;
  const std::int64_t batch = args.qkv.dim(0);
  const std::int64_t seq_len = args.qkv.dim(1);
  const std::int64_t room = args.keys.dim(1);
  const std::int64_t kv_width = shape.kv_heads * shape.head_dim;
  for (std::int64_t b = 0; b < batch; ++b) {
    const QkvHeads<const T> qkv(args.qkv.data<T>() + b * seq_len * shape.packed_width(), shape);
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

std::int64_t attention_forward_workspace(const AttentionShape& shape, std::int64_t batch,
                                         std::int64_t seq_len, DType dtype) {
  return visit_floating(dtype, [&]<typename T>() {
    return Operand<T>::copy_size(batch * seq_len * shape.packed_width()) +
           omp_get_max_threads() *
               (kIsNarrow<T> ? kNarrowScratch + kQueryBlock * shape.head_dim : kScratch);
  });
}

std::int64_t attention_backward_workspace(const AttentionShape& shape, std::int64_t batch,
                                          std::int64_t seq_len, std::int64_t basis, DType dtype) {
  return visit_floating(dtype, [&]<typename T>() {
    return Operand<T>::copy_size(batch * seq_len * shape.packed_width()) +
           Operand<T>::copy_size(basis * batch * seq_len * shape.width()) +
           omp_get_max_threads() *
               (kIsNarrow<T> ? kNarrowScratch + basis * 3 * seq_len * shape.head_dim : kScratch);
  });
}

void attention(const AttentionForward& args) {
  visit_floating(args.qkv.dtype(), [&]<typename T>() { forward<T>(args); });
}

void attention(const AttentionBackward& args) {
  visit_floating(args.qkv.dtype(), [&]<typename T>() { backward<T>(args); });
}

void attention(const CachedAttention& args) {
  visit_floating(args.qkv.dtype(), [&]<typename T>() { cached<T>(args); });
}

}  // namespace ghost::cpu
