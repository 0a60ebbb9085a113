#pragma once

#include <algorithm>
#include <cmath>
#include <omp.h>

#include "ops/cpu/flush_denormals.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/vector_math.h"
#include "ops/ssd_kernels.h"

namespace ghost::cpu {

// Decays pass through the denormal numbers on their way to 0, and tokens that are nearly forgotten
// would cost a product four times its time: all of this runs under FlushDenormals.

/// Rows of a lower triangle that share one matrix product; what lies above them is left out.
inline constexpr std::int64_t kSsdRows = 64;

/// Where things lie: batch entry b, chunk c, token t, head h, group g.
template <typename T>
struct SsdLayout {
  SsdShape shape;
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t chunk;
  std::int64_t num_chunks;
  std::int64_t width;  // of a packed row

  explicit SsdLayout(const SsdInputs& in)
      : shape(in.config.shape),
        batch(in.xbc.dim(0)),
        seq_len(in.xbc.dim(1)),
        chunk(in.config.chunk),
        num_chunks(chunk == 0 ? 0 : (seq_len + chunk - 1) / chunk),
        width(shape.packed_width()) {}

  bool is_large() const {
    return batch * seq_len * shape.inner() * shape.state > kParallelElements;
  }
  std::int64_t begin(std::int64_t c) const { return c * chunk; }
  std::int64_t length(std::int64_t c) const { return std::min(chunk, seq_len - c * chunk); }
  std::int64_t head_state() const { return shape.head_dim * shape.state; }
  /// Channels of the heads of a group.
  std::int64_t group_width() const { return shape.heads_of_group() * shape.head_dim; }

  // In tensors [B, T, width], or [P, B, T, width] with p B + b for b.
  T* row(const Tensor& xbc, std::int64_t b, std::int64_t t) const {
    return xbc.data<T>() + (b * seq_len + t) * width;
  }
  T* x(const Tensor& xbc, std::int64_t b, std::int64_t t, std::int64_t g) const {
    return row(xbc, b, t) + g * group_width();
  }
  T* in_matrix(const Tensor& xbc, std::int64_t b, std::int64_t t, std::int64_t g) const {
    return row(xbc, b, t) + shape.inner() + g * shape.state;
  }
  T* out_matrix(const Tensor& xbc, std::int64_t b, std::int64_t t, std::int64_t g) const {
    return in_matrix(xbc, b, t, shape.groups + g);
  }
  // [B, T, H P]
  T* y(const Tensor& y, std::int64_t b, std::int64_t t, std::int64_t g) const {
    return y.data<T>() + (b * seq_len + t) * shape.inner() + g * group_width();
  }
  // [B, H, T]
  T* of_tokens(const Tensor& tensor, std::int64_t b, std::int64_t h, std::int64_t t) const {
    return tensor.data<T>() + (b * shape.heads + h) * seq_len + t;
  }
  // [B, M + 1, H, P, N]
  T* state(const Tensor& states, std::int64_t b, std::int64_t c, std::int64_t h) const {
    return states.data<T>() + ((b * (num_chunks + 1) + c) * shape.heads + h) * head_state();
  }
};

template <typename T>
T ssd_decay_rate(const SsdInputs& in, std::int64_t head) {
  return -std::exp(in.weights.a_log.data<T>()[head]);
}

/// The step w of a token, and dw/d(dt + dt_bias).
template <typename T>
struct SsdStep {
  T value;
  T slope;

  SsdStep(const SsdInputs& in, std::int64_t b, std::int64_t t, std::int64_t h) {
    constexpr T kIsLinear = 20;  // softplus is the identity from here on
    const SsdConfig& config = in.config;
    const std::int64_t heads = config.shape.heads;
    T raw = in.dt.data<T>()[(b * in.dt.dim(1) + t) * heads + h];
    raw += in.weights.dt_bias.defined() ? in.weights.dt_bias.data<T>()[h] : T{0};
    const bool is_soft = config.has_softplus && raw <= kIsLinear;
    const T step = is_soft ? std::log1p(std::exp(raw)) : raw;
    const T low = static_cast<T>(config.dt_min);
    const T high = static_cast<T>(config.dt_max);
    value = std::clamp(step, low, high);
    slope = step < low || step > high ? T{0} : (is_soft ? 1 / (1 + std::exp(-raw)) : T{1});
  }
};

/// Scratch of a thread, [L, L] and [L, channels of a group] matrices and rows of L.
template <typename T>
struct SsdScratch {
  T* scores;   // [L, L] C[i] . B[j]
  T* decays;   // [L, L] exp(s[i] - s[j])
  T* mixed;    // [L, L] scores * decays, with or without w[j]
  T* dmixed;   // [L, L]
  T* dscores;  // [L, L]
  T* carried;  // [L, channels] what the state at the start of the chunk adds to y
  T* scaled_x;
  T* scaled_dy;
  T* from_state;  // [L, channels] B[j] against the cotangent of the chunk's state
  T* rows;        // 4 of [L]

  static std::int64_t size(const SsdShape& shape, std::int64_t chunk) {
    return 5 * chunk * chunk + 4 * chunk * shape.heads_of_group() * shape.head_dim + 4 * chunk;
  }
  SsdScratch(const Tensor& scratch, const SsdLayout<T>& at) {
    const std::int64_t square = at.chunk * at.chunk;
    const std::int64_t wide = at.chunk * at.group_width();
    scores = scratch.data<T>() + omp_get_thread_num() * size(at.shape, at.chunk);
    decays = scores + square;
    mixed = decays + square;
    dmixed = mixed + square;
    dscores = dmixed + square;
    carried = dscores + square;
    scaled_x = carried + wide;
    scaled_dy = scaled_x + wide;
    from_state = scaled_dy + wide;
    rows = from_state + wide;
  }
};

/// w and the sums of a within each chunk.
template <typename T>
void ssd_steps(const SsdInputs& in, const SsdWorkspace& work) {
  const SsdLayout<T> at(in);
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < at.shape.heads; ++h) {
      const T rate = ssd_decay_rate<T>(in, h);
      T* steps = at.of_tokens(work.steps, b, h, 0);
      T* sums = at.of_tokens(work.log_decays, b, h, 0);
      for (std::int64_t t = 0; t < at.seq_len; ++t) {
        steps[t] = SsdStep<T>(in, b, t, h).value;
        sums[t] = steps[t] * rate + (t % at.chunk == 0 ? T{0} : sums[t - 1]);
      }
    }
  }
}

/// x[j] scaled by what is left of token j at the end of its chunk, w[j] exp(s[L-1] - s[j]), for
/// the heads of a group: [length, channels].
template <typename T>
void ssd_scale_x(const SsdInputs& in, const SsdWorkspace& work, const SsdLayout<T>& at,
                 std::int64_t b, std::int64_t c, std::int64_t g, T* scaled) {
  const std::int64_t head_dim = at.shape.head_dim;
  const std::int64_t length = at.length(c);
  for (std::int64_t i = 0; i < at.shape.heads_of_group(); ++i) {
    const std::int64_t h = g * at.shape.heads_of_group() + i;
    const T* steps = at.of_tokens(work.steps, b, h, at.begin(c));
    const T* sums = at.of_tokens(work.log_decays, b, h, at.begin(c));
    for (std::int64_t j = 0; j < length; ++j) {
      const T factor = steps[j] * vector_exp(sums[length - 1] - sums[j]);
      const T* x = at.x(in.xbc, b, at.begin(c) + j, g) + i * head_dim;
      T* out = scaled + j * at.group_width() + i * head_dim;
#pragma omp simd
      for (std::int64_t d = 0; d < head_dim; ++d) {
        out[d] = factor * x[d];
      }
    }
  }
}

/// The state at the start of every chunk and at the end: what each chunk leaves, then a scan.
template <typename T>
void ssd_states(const SsdInputs& in, const SsdWorkspace& work) {
  const SsdLayout<T> at(in);
  const SsdShape& shape = at.shape;
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const FlushDenormals flush;
        const SsdScratch<T> scratch(work.scratch, at);
        ssd_scale_x(in, work, at, b, c, g, scratch.scaled_x);
        gemm({.m = at.group_width(), .n = shape.state, .k = at.length(c)}, T{1},
             {scratch.scaled_x, at.group_width(), Transpose::kYes},
             {at.in_matrix(in.xbc, b, at.begin(c), g), at.width}, T{0},
             {at.state(work.states, b, c + 1, g * shape.heads_of_group()), shape.state});
      }
    }
  }
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const FlushDenormals flush;
      T* first = at.state(work.states, b, 0, h);
      if (in.initial_state.defined()) {
        std::copy_n(in.initial_state.data<T>() + (b * shape.heads + h) * at.head_state(),
                    at.head_state(), first);
      } else {
        std::fill_n(first, at.head_state(), T{0});
      }
      for (std::int64_t c = 0; c < at.num_chunks; ++c) {
        const std::int64_t last = at.begin(c) + at.length(c) - 1;
        const T decay = vector_exp(*at.of_tokens(work.log_decays, b, h, last));
        const T* before = at.state(work.states, b, c, h);
        T* after = at.state(work.states, b, c + 1, h);
#pragma omp simd
        for (std::int64_t i = 0; i < at.head_state(); ++i) {
          after[i] += decay * before[i];
        }
      }
    }
  }
}

/// scores[i,j] = C[i] . B[j] of a chunk, on and below the diagonal.
template <typename T>
void ssd_scores(const SsdInputs& in, const SsdLayout<T>& at, std::int64_t b, std::int64_t c,
                std::int64_t g, T* scores) {
  const std::int64_t length = at.length(c);
  for (std::int64_t i = 0; i < length; i += kSsdRows) {
    const std::int64_t end = std::min(i + kSsdRows, length);
    gemm({.m = end - i, .n = end, .k = at.shape.state}, T{1},
         {at.out_matrix(in.xbc, b, at.begin(c) + i, g), at.width},
         {at.in_matrix(in.xbc, b, at.begin(c), g), at.width, Transpose::kYes}, T{0},
         {scores + i * length, length});
  }
}

/// What the state at the start of a chunk adds to y, before its decay: y[i] = H C[i] for the heads
/// of a group.
template <typename T>
void ssd_read_state(const SsdInputs& in, const SsdWorkspace& work, const SsdLayout<T>& at,
                    std::int64_t b, std::int64_t c, std::int64_t g, const Matrix<T>& y) {
  gemm(
      {.m = at.length(c), .n = at.group_width(), .k = at.shape.state}, T{1},
      {at.out_matrix(in.xbc, b, at.begin(c), g), at.width},
      {at.state(work.states, b, c, g * at.shape.heads_of_group()), at.shape.state, Transpose::kYes},
      T{0}, y);
}

}  // namespace ghost::cpu
