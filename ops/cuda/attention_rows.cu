#include <cmath>
#include <cuda_runtime.h>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/attention_paths.h"
#include "ops/cuda/attention_tiles.cuh"

namespace ghost::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kBasis = 4;  // cotangents that share one P-matrix

// Lanes read rows of their own here, so an access of 16 bytes is worth four.
template <typename T>
__device__ float dot(const float* __restrict__ x, const T* __restrict__ y, int n, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  float sum = 0.0F;
  for (int d = 0; d < n; d += kLanes) {
    float values[kLanes];
    load_lanes<kLanes>(y + d, n - d, is_aligned, values);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
      if (d + i < n) {
        sum = fmaf(x[d + i], values[i], sum);
      }
    }
  }
  return sum;
}

/// Whether rows of heads start where 16-byte accesses may.
template <typename T, typename... Tensors>
bool has_aligned_rows(const AttentionShape& shape, const Tensors&... tensors) {
  return shape.head_dim % kVectorLanes<T> == 0 && are_aligned(tensors.raw()...);
}

/// A warp brings a row to shared memory.
template <typename T>
__device__ void load_row(float* to, const T* __restrict__ from, int n, int lane) {
  for (int d = lane; d < n; d += kWarpSize) {
    to[d] = to_float(from[d]);
  }
}

/// Keys and values that queries look at: rows of the packed projections, or of a cache.
template <typename T>
struct KeyRows {
  const T* __restrict__ keys;
  const T* __restrict__ values;
  std::int64_t of_entry;  // elements from one batch entry to the next
  std::int64_t of_token;
  int start;  // tokens before the first query
};

// One block per query. Its warps take turns at 32 keys, a lane each, and keep a softmax of their
// own with output in shared memory; these join in the order of the warps.
// Launch: kThreads, B T H blocks; shared: (D + kWarps (D + 32 + 2)) floats.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    attend_row_per_block(const T* __restrict__ qkv, KeyRows<T> rows, T* __restrict__ o,
                         float* __restrict__ lse, AttentionSizes sizes, bool is_aligned) {
  extern __shared__ __align__(16) float row_memory[];
  const int head_dim = sizes.head_dim;
  const int head = static_cast<int>(blockIdx.x) % sizes.heads;
  const std::int64_t token = static_cast<int>(blockIdx.x) / sizes.heads;  // of B T
  const int t = static_cast<int>(token % sizes.seq_len);
  const std::int64_t entry = token / sizes.seq_len;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float* query = row_memory;
  float* outs = query + head_dim;
  float* out = outs + warp * head_dim;
  float* weights = outs + kWarps * head_dim + warp * kWarpSize;
  float* maxima = outs + kWarps * (head_dim + kWarpSize);
  float* sums = maxima + kWarps;

  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kThreads) {
    query[d] = to_float(qkv[sizes.query(entry, head, t) + d]);
  }
  for (int d = lane; d < head_dim; d += kWarpSize) {
    out[d] = 0.0F;
  }
  __syncthreads();

  const std::int64_t of_head =
      entry * rows.of_entry + std::int64_t{head / sizes.group()} * head_dim;
  const T* keys = rows.keys + of_head;
  const T* values = rows.values + of_head;
  const int num_keys = rows.start + t + 1;
  float maximum = -INFINITY;
  float sum = 0.0F;
  for (int s0 = warp * kWarpSize; s0 < num_keys; s0 += kThreads) {
    const int s = s0 + lane;
    const float score =
        s < num_keys ? sizes.scale * dot(query, keys + s * rows.of_token, head_dim, is_aligned)
                     : -INFINITY;
    const float largest = fmaxf(maximum, warp_max(score));
    const float weight = expf(score - largest);
    const float shrink = expf(maximum - largest);  // 0 at first
    maximum = largest;
    sum = sum * shrink + warp_sum(weight);
    weights[lane] = weight;
    __syncwarp();
    const int count = min(kWarpSize, num_keys - s0);
    for (int d = lane; d < head_dim; d += kWarpSize) {
      float value = out[d] * shrink;
      for (int i = 0; i < count; ++i) {
        value = fmaf(weights[i], to_float(values[(s0 + i) * rows.of_token + d]), value);
      }
      out[d] = value;
    }
    __syncwarp();
  }
  if (lane == 0) {
    maxima[warp] = maximum;
    sums[warp] = sum;
  }
  __syncthreads();

  float largest = maxima[0];  // warp 0 always has a key
  for (int w = 1; w < kWarps; ++w) {
    largest = fmaxf(largest, maxima[w]);
  }
  float total = 0.0F;
  for (int w = 0; w < kWarps; ++w) {
    total += sums[w] * expf(maxima[w] - largest);
  }
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kThreads) {
    float value = 0.0F;
    for (int w = 0; w < kWarps; ++w) {
      value = fmaf(outs[w * head_dim + d], expf(maxima[w] - largest), value);
    }
    o[sizes.output(entry, head, t) + d] = from_float<T>(value / total);
  }
  if (lse != nullptr && threadIdx.x == 0) {
    lse[sizes.statistic(entry, head, t)] = largest + logf(total);
  }
}

template <typename T>
void attend(const Tensor& qkv, const KeyRows<T>& rows, const Tensor& o, float* lse,
            const AttentionShape& shape) {
  const AttentionSizes sizes = attention_sizes(qkv, shape);
  const std::int64_t num_rows = sizes.batch * sizes.seq_len * sizes.heads;
  const bool is_aligned = has_aligned_rows<T>(shape, qkv) && are_aligned(rows.keys, rows.values);
  const std::int64_t floats = shape.head_dim + kWarps * (shape.head_dim + kWarpSize + 2);
  attend_row_per_block<T>
      <<<static_cast<unsigned>(num_rows), kThreads, floats * sizeof(float), stream_of(qkv)>>>(
          elements<T>(qkv), rows, elements<T>(o), lse, sizes, is_aligned);
  check_launch("attend_row_per_block");
}

// delta[p, b, h, t] = do . o. `lanes` neighbours (a power of 2) take a row of a head together, 8
// values each at a time, so that a warp reads whole lines whatever the head size.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    dot_rows(const T* __restrict__ dout, const T* __restrict__ o, float* __restrict__ delta,
             AttentionSizes sizes, int basis, int lanes, bool is_aligned) {
  const int head_dim = sizes.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int rows_of_block = kThreads / lanes;
  const std::int64_t rows_of_p = sizes.batch * sizes.seq_len * sizes.heads;
  const std::int64_t num_rows = basis * rows_of_p;
  const std::int64_t stride = std::int64_t{gridDim.x} * rows_of_block;
  for (std::int64_t row0 = std::int64_t{blockIdx.x} * rows_of_block; row0 < num_rows;
       row0 += stride) {
    const std::int64_t row = row0 + static_cast<int>(threadIdx.x) / lanes;
    float sum = 0.0F;
    if (row < num_rows) {
      for (int d = 8 * lane; d < head_dim; d += 8 * lanes) {
        float left[8];
        float right[8];
        load_lanes<8>(dout + row * head_dim + d, head_dim - d, is_aligned, left);
        load_lanes<8>(o + row % rows_of_p * head_dim + d, head_dim - d, is_aligned, right);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          sum = fmaf(left[i], right[i], sum);
        }
      }
    }
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    if (lane == 0 && row < num_rows) {
      const std::int64_t token = row / sizes.heads;  // of P B T
      delta[sizes.statistic(token / sizes.seq_len, static_cast<int>(row % sizes.heads),
                            static_cast<int>(token % sizes.seq_len))] = sum;
    }
  }
}

template <typename T>
struct RowBackward {
  const T* __restrict__ qkv;
  const T* __restrict__ dout;
  const float* __restrict__ lse;
  const float* __restrict__ delta;
  T* __restrict__ dqkv;
};

// One warp per key of a key-value head: lanes take 32 of the queries that see it, all query heads
// of the group in order. P is made once for kBasis cotangents, whose sums lie in shared memory.
// Launch: kThreads; x: B T Hkv rows over kWarps; y: chunks of cotangents; shared: kWarps
// (2 + 2 kBasis) D + (1 + kBasis) 32 floats each.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pull_back_to_key_per_warp(RowBackward<T> data, AttentionSizes sizes, int basis,
                              bool is_aligned) {
  extern __shared__ __align__(16) float row_memory[];
  const int head_dim = sizes.head_dim;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + warp;
  if (row >= sizes.batch * sizes.seq_len * sizes.kv_heads) {
    return;
  }
  const int kv_head = static_cast<int>(row % sizes.kv_heads);
  const std::int64_t token = row / sizes.kv_heads;
  const int s = static_cast<int>(token % sizes.seq_len);
  const std::int64_t entry = token / sizes.seq_len;
  const int p0 = static_cast<int>(blockIdx.y) * kBasis;
  const int num = min(kBasis, basis - p0);
  float* key = row_memory + warp * ((2 + 2 * kBasis) * head_dim + (1 + kBasis) * kWarpSize);
  float* value = key + head_dim;
  float* dkey = value + head_dim;               // [kBasis, D]
  float* dvalue = dkey + kBasis * head_dim;     // [kBasis, D]
  float* weights = dvalue + kBasis * head_dim;  // P, then dS of each cotangent: 32 queries each
  load_row(key, data.qkv + sizes.key(entry, kv_head, s), head_dim, lane);
  load_row(value, data.qkv + sizes.value(entry, kv_head, s), head_dim, lane);
  for (int i = lane; i < 2 * kBasis * head_dim; i += kWarpSize) {
    dkey[i] = 0.0F;
  }
  __syncwarp();

  for (int head = kv_head * sizes.group(); head < (kv_head + 1) * sizes.group(); ++head) {
    for (int t0 = s; t0 < sizes.seq_len; t0 += kWarpSize) {
      const int t = t0 + lane;
      const bool is_there = t < sizes.seq_len;
      float weight = 0.0F;
      if (is_there) {
        const float score =
            sizes.scale * dot(key, data.qkv + sizes.query(entry, head, t), head_dim, is_aligned);
        weight = expf(score - data.lse[sizes.statistic(entry, head, t)]);
      }
      weights[lane] = weight;
      for (int p = 0; p < num; ++p) {
        float dscore = 0.0F;
        if (is_there) {
          const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
          dscore =
              weight * (dot(value, data.dout + sizes.output(of_p, head, t), head_dim, is_aligned) -
                        data.delta[sizes.statistic(of_p, head, t)]);
        }
        weights[(1 + p) * kWarpSize + lane] = dscore;
      }
      __syncwarp();
      const int count = min(kWarpSize, sizes.seq_len - t0);
      for (int d = lane; d < head_dim; d += kWarpSize) {
        for (int p = 0; p < num; ++p) {
          const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
          float dk = dkey[p * head_dim + d];
          float dv = dvalue[p * head_dim + d];
          for (int i = 0; i < count; ++i) {
            dk = fmaf(weights[(1 + p) * kWarpSize + i],
                      to_float(data.qkv[sizes.query(entry, head, t0 + i) + d]), dk);
            dv = fmaf(weights[i], to_float(data.dout[sizes.output(of_p, head, t0 + i) + d]), dv);
          }
          dkey[p * head_dim + d] = dk;
          dvalue[p * head_dim + d] = dv;
        }
      }
      __syncwarp();
    }
  }
  for (int p = 0; p < num; ++p) {
    const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
    for (int d = lane; d < head_dim; d += kWarpSize) {
      data.dqkv[sizes.key(of_p, kv_head, s) + d] =
          from_float<T>(sizes.scale * dkey[p * head_dim + d]);
      data.dqkv[sizes.value(of_p, kv_head, s) + d] = from_float<T>(dvalue[p * head_dim + d]);
    }
  }
}

// One warp per query of a head: lanes take 32 of the keys it sees.
// Launch: kThreads; x: B T H rows over kWarps; y: chunks of cotangents; shared: kWarps
// (1 + 2 kBasis) D + kBasis 32 floats each.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pull_back_to_query_per_warp(RowBackward<T> data, AttentionSizes sizes, int basis,
                                bool is_aligned) {
  extern __shared__ __align__(16) float row_memory[];
  const int head_dim = sizes.head_dim;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + warp;
  if (row >= sizes.batch * sizes.seq_len * sizes.heads) {
    return;
  }
  const int head = static_cast<int>(row % sizes.heads);
  const int kv_head = head / sizes.group();
  const std::int64_t token = row / sizes.heads;
  const int t = static_cast<int>(token % sizes.seq_len);
  const std::int64_t entry = token / sizes.seq_len;
  const int p0 = static_cast<int>(blockIdx.y) * kBasis;
  const int num = min(kBasis, basis - p0);
  float* query = row_memory + warp * ((1 + 2 * kBasis) * head_dim + kBasis * kWarpSize);
  float* dout = query + head_dim;               // [kBasis, D]
  float* dquery = dout + kBasis * head_dim;     // [kBasis, D]
  float* dscores = dquery + kBasis * head_dim;  // of 32 keys, per cotangent
  load_row(query, data.qkv + sizes.query(entry, head, t), head_dim, lane);
  for (int p = 0; p < num; ++p) {
    const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
    load_row(dout + p * head_dim, data.dout + sizes.output(of_p, head, t), head_dim, lane);
  }
  for (int i = lane; i < kBasis * head_dim; i += kWarpSize) {
    dquery[i] = 0.0F;
  }
  __syncwarp();

  const float lse = data.lse[sizes.statistic(entry, head, t)];
  for (int s0 = 0; s0 <= t; s0 += kWarpSize) {
    const int s = s0 + lane;
    const bool is_there = s <= t;
    float weight = 0.0F;
    if (is_there) {
      weight = expf(sizes.scale *
                        dot(query, data.qkv + sizes.key(entry, kv_head, s), head_dim, is_aligned) -
                    lse);
    }
    for (int p = 0; p < num; ++p) {
      float dscore = 0.0F;
      if (is_there) {
        const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
        dscore = weight * (dot(dout + p * head_dim, data.qkv + sizes.value(entry, kv_head, s),
                               head_dim, is_aligned) -
                           data.delta[sizes.statistic(of_p, head, t)]);
      }
      dscores[p * kWarpSize + lane] = dscore;
    }
    __syncwarp();
    const int count = min(kWarpSize, t + 1 - s0);
    for (int d = lane; d < head_dim; d += kWarpSize) {
      for (int p = 0; p < num; ++p) {
        float dq = dquery[p * head_dim + d];
        for (int i = 0; i < count; ++i) {
          dq = fmaf(dscores[p * kWarpSize + i],
                    to_float(data.qkv[sizes.key(entry, kv_head, s0 + i) + d]), dq);
        }
        dquery[p * head_dim + d] = dq;
      }
    }
    __syncwarp();
  }
  for (int p = 0; p < num; ++p) {
    const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
    for (int d = lane; d < head_dim; d += kWarpSize) {
      data.dqkv[sizes.query(of_p, head, t) + d] =
          from_float<T>(sizes.scale * dquery[p * head_dim + d]);
    }
  }
}

template <typename T>
void pull_back(const AttentionBackward& args) {
  const AttentionSizes sizes = attention_sizes(args.qkv, args.shape);
  const int basis = static_cast<int>(args.dout.dim(0));
  const std::int64_t tokens = sizes.batch * sizes.seq_len;
  const bool is_aligned = has_aligned_rows<T>(args.shape, args.qkv, args.dout);
  const RowBackward<T> data = {.qkv = elements<T>(args.qkv),
                               .dout = elements<T>(args.dout),
                               .lse = elements<float>(args.lse),
                               .delta = elements<float>(args.delta),
                               .dqkv = elements<T>(args.dqkv)};
  const auto grid = [&](std::int64_t rows) {
    return dim3(static_cast<unsigned>((rows + kWarps - 1) / kWarps),
                static_cast<unsigned>((basis + kBasis - 1) / kBasis));
  };
  const auto bytes = [&](int rows, int lanes) {
    return static_cast<int>(sizeof(float)) * kWarps * (rows * sizes.head_dim + lanes * kWarpSize);
  };
  const int key_bytes = bytes(2 + 2 * kBasis, 1 + kBasis);
  check(cudaFuncSetAttribute(pull_back_to_key_per_warp<T>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, key_bytes),
        "cudaFuncSetAttribute");
  pull_back_to_key_per_warp<T>
      <<<grid(tokens * sizes.kv_heads), kThreads, key_bytes, stream_of(args.qkv)>>>(
          data, sizes, basis, is_aligned);
  check_launch("pull_back_to_key_per_warp");
  const int query_bytes = bytes(1 + 2 * kBasis, kBasis);
  check(cudaFuncSetAttribute(pull_back_to_query_per_warp<T>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, query_bytes),
        "cudaFuncSetAttribute");
  pull_back_to_query_per_warp<T>
      <<<grid(tokens * sizes.heads), kThreads, query_bytes, stream_of(args.qkv)>>>(
          data, sizes, basis, is_aligned);
  check_launch("pull_back_to_query_per_warp");
}

// The keys and values of new tokens take their places in the cache.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    append_rows(const T* __restrict__ qkv, T* __restrict__ keys, T* __restrict__ values,
                AttentionSizes sizes, std::int64_t room, std::int64_t start) {
  const int kv_width = sizes.kv_heads * sizes.head_dim;
  const std::int64_t num = sizes.batch * sizes.seq_len * kv_width;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < num; i += stride) {
    const std::int64_t token = i / kv_width;
    const int column = static_cast<int>(i % kv_width);
    const int t = static_cast<int>(token % sizes.seq_len);
    const std::int64_t entry = token / sizes.seq_len;
    const std::int64_t to = (entry * room + start + t) * kv_width + column;
    keys[to] = qkv[sizes.key(entry, 0, t) + column];
    values[to] = qkv[sizes.value(entry, 0, t) + column];
  }
}

}  // namespace

void attention_by_rows(const AttentionForward& args) {
  visit_gpu_real(args.qkv.dtype(), "attention", [&]<typename T>() {
    const std::int64_t width = args.shape.packed_width();
    const T* keys = elements<T>(args.qkv) + args.shape.width();
    attend<T>(args.qkv,
              {.keys = keys,
               .values = keys + args.shape.kv_heads * args.shape.head_dim,
               .of_entry = args.qkv.dim(1) * width,
               .of_token = width,
               .start = 0},
              args.o, elements<float>(args.lse), args.shape);
  });
}

void attention_by_rows(const AttentionBackward& args) {
  attention_row_dots(args);
  visit_gpu_real(args.qkv.dtype(), "attention", [&]<typename T>() { pull_back<T>(args); });
}

void append_to_cache(const CachedAttention& args) {
  const AttentionSizes sizes = attention_sizes(args.qkv, args.shape);
  visit_gpu_real(args.qkv.dtype(), "cached_attention", [&]<typename T>() {
    const std::int64_t num = sizes.batch * sizes.seq_len * args.keys.dim(2);
    append_rows<T>
        <<<num_blocks(args.qkv.device(), num, kThreads), kThreads, 0, stream_of(args.qkv)>>>(
            elements<T>(args.qkv), elements<T>(args.keys), elements<T>(args.values), sizes,
            args.keys.dim(1), args.start);
  });
  check_launch("append_rows");
}

void attention_by_rows(const CachedAttention& args) {
  visit_gpu_real(args.qkv.dtype(), "cached_attention", [&]<typename T>() {
    const std::int64_t kv_width = args.keys.dim(2);
    attend<T>(args.qkv,
              {.keys = elements<T>(args.keys),
               .values = elements<T>(args.values),
               .of_entry = args.keys.dim(1) * kv_width,
               .of_token = kv_width,
               .start = static_cast<int>(args.start)},
              args.o, nullptr, args.shape);
  });
}

void attention_row_dots(const AttentionBackward& args) {
  const AttentionSizes sizes = attention_sizes(args.qkv, args.shape);
  visit_gpu_real(args.qkv.dtype(), "attention", [&]<typename T>() {
    const T* dout = elements<T>(args.dout);
    const T* o = elements<T>(args.o);
    int lanes = 1;
    while (lanes < kWarpSize && 8 * lanes < sizes.head_dim) {
      lanes *= 2;
    }
    const bool is_aligned = args.shape.head_dim % 8 == 0 && are_aligned(dout, o);
    const int blocks = num_blocks(args.qkv.device(), args.delta.numel() * lanes, kThreads);
    dot_rows<T><<<blocks, kThreads, 0, stream_of(args.qkv)>>>(
        dout, o, elements<float>(args.delta), sizes, static_cast<int>(args.dout.dim(0)), lanes,
        is_aligned);
  });
  check_launch("dot_rows");
}

}  // namespace ghost::cuda
