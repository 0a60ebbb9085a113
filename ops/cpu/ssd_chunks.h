#pragma once

#include <algorithm>
#include <cmath>
#include <omp.h>
#include <type_traits>

#include "ops/cpu/flush_denormals.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"
#include "ops/cpu/vector_math.h"
#include "ops/ssd_kernels.h"

namespace ghost::cpu {

// Decays pass through the denormal numbers on their way to 0, and tokens that are nearly forgotten
// would cost a product four times its time: all of this runs under FlushDenormals.

/// Rows of a lower triangle that share one matrix product; what lies above them is left out.
inline constexpr std::int64_t kSsdRows = 64;

/// Where things lie: batch entry b, chunk c, token t, head h, group g. T is what activations are
/// stored in; weights, states, scratch and sums are RealOf<T>.
template <typename T>
struct SsdLayout {
  using Real = RealOf<T>;

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
  Real* of_tokens(const Tensor& tensor, std::int64_t b, std::int64_t h, std::int64_t t) const {
    return tensor.data<Real>() + (b * shape.heads + h) * seq_len + t;
  }
  // [B, M + 1, H, P, N]
  Real* state(const Tensor& states, std::int64_t b, std::int64_t c, std::int64_t h) const {
    return states.data<Real>() + ((b * (num_chunks + 1) + c) * shape.heads + h) * head_state();
  }
};

template <typename Real>
Real ssd_decay_rate(const SsdInputs& in, std::int64_t head) {
  return -std::exp(in.weights.a_log.data<Real>()[head]);
}

/// D of a head, 0 where there is none.
template <typename Real>
Real ssd_skip(const SsdInputs& in, std::int64_t head) {
  return in.weights.d.defined() ? in.weights.d.data<Real>()[head] : Real{0};
}

/// The step w of a token, and dw/d(dt + dt_bias).
template <typename T>
struct SsdStep {
  using Real = RealOf<T>;

  Real value;
  Real slope;

  SsdStep(const SsdInputs& in, std::int64_t b, std::int64_t t, std::int64_t h) {
    constexpr Real kIsLinear = 20;  // softplus is the identity from here on
    const SsdConfig& config = in.config;
    const std::int64_t heads = config.shape.heads;
    Real raw = widen(in.dt.data<T>()[(b * in.dt.dim(1) + t) * heads + h]);
    raw += in.weights.dt_bias.defined() ? in.weights.dt_bias.data<Real>()[h] : Real{0};
    const bool is_soft = config.has_softplus && raw <= kIsLinear;
    const Real step = is_soft ? std::log1p(std::exp(raw)) : raw;
    const Real low = static_cast<Real>(config.dt_min);
    const Real high = static_cast<Real>(config.dt_max);
    value = std::clamp(step, low, high);
    slope = step < low || step > high ? Real{0} : (is_soft ? 1 / (1 + std::exp(-raw)) : Real{1});
  }
};

/// Scratch of a thread, [L, L] and [L, channels of a group] matrices and rows of L.
template <typename T>
struct SsdScratch {
  using Real = RealOf<T>;
  static constexpr bool kIsWidened = !std::is_same_v<T, Real>;

  Real* scores;   // [L, L] C[i] . B[j]
  Real* decays;   // [L, L] exp(s[i] - s[j])
  Real* mixed;    // [L, L] scores * decays, with or without w[j]
  Real* dmixed;   // [L, L]
  Real* dscores;  // [L, L]
  Real* carried;  // [L, channels] what the state at the start of the chunk adds to y
  Real* scaled_x;
  Real* scaled_dy;
  Real* from_state;  // [L, channels] B[j] against the cotangent of the chunk's state
  Real* rows;        // 4 of [L]
  // Where activations are stored in less: those of a chunk and group, widened or yet to be rounded.
  Real* x;           // [L, channels]
  Real* dy;          // [L, channels]
  Real* out;         // [L, channels] y or dx
  Real* in_matrix;   // [L, N]
  Real* out_matrix;  // [L, N]
  Real* din;         // [L, N]
  Real* dout;        // [L, N]

  static std::int64_t size(const SsdShape& shape, std::int64_t chunk) {
    const std::int64_t wide = chunk * shape.heads_of_group() * shape.head_dim;
    return 5 * chunk * chunk + 4 * wide + 4 * chunk +
           (kIsWidened ? 3 * wide + 4 * chunk * shape.state : 0);
  }
  SsdScratch(const Tensor& scratch, const SsdLayout<T>& at) {
    const std::int64_t square = at.chunk * at.chunk;
    const std::int64_t wide = at.chunk * at.group_width();
    const std::int64_t keys = at.chunk * at.shape.state;
    scores = scratch.data<Real>() + omp_get_thread_num() * size(at.shape, at.chunk);
    decays = scores + square;
    mixed = decays + square;
    dmixed = mixed + square;
    dscores = dmixed + square;
    carried = dscores + square;
    scaled_x = carried + wide;
    scaled_dy = scaled_x + wide;
    from_state = scaled_dy + wide;
    rows = from_state + wide;
    x = rows + 4 * at.chunk;
    dy = x + wide;
    out = dy + wide;
    in_matrix = out + wide;
    out_matrix = in_matrix + keys;
    din = out_matrix + keys;
    dout = din + keys;
  }
};

/// x, B and C of one chunk, for the heads of one group.
template <typename T>
struct SsdChunk {
  Matrix<const RealOf<T>> x;           // [length, channels]
  Matrix<const RealOf<T>> in_matrix;   // [length, N]
  Matrix<const RealOf<T>> out_matrix;  // [length, N]

  SsdChunk(const SsdInputs& in, const SsdLayout<T>& at, const SsdScratch<T>& scratch,
           std::int64_t b, std::int64_t c, std::int64_t g)
      : x(load_rows(at.x(in.xbc, b, at.begin(c), g), at.width, at.length(c), at.group_width(),
                    scratch.x)),
        in_matrix(load_rows(at.in_matrix(in.xbc, b, at.begin(c), g), at.width, at.length(c),
                            at.shape.state, scratch.in_matrix)),
        out_matrix(load_rows(at.out_matrix(in.xbc, b, at.begin(c), g), at.width, at.length(c),
                             at.shape.state, scratch.out_matrix)) {}
};

/// w and the sums of a within each chunk.
template <typename T>
void ssd_steps(const SsdInputs& in, const SsdWorkspace& work) {
  using Real = RealOf<T>;
  const SsdLayout<T> at(in);
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < at.shape.heads; ++h) {
      const Real rate = ssd_decay_rate<Real>(in, h);
      Real* steps = at.of_tokens(work.steps, b, h, 0);
      Real* sums = at.of_tokens(work.log_decays, b, h, 0);
      for (std::int64_t t = 0; t < at.seq_len; ++t) {
        steps[t] = SsdStep<T>(in, b, t, h).value;
        sums[t] = steps[t] * rate + (t % at.chunk == 0 ? Real{0} : sums[t - 1]);
      }
    }
  }
}

/// x[j] scaled by what is left of token j at the end of its chunk, w[j] exp(s[L-1] - s[j]), for
/// the heads of a group: [length, channels].
template <typename T>
void ssd_scale_x(const SsdWorkspace& work, const SsdLayout<T>& at, const SsdChunk<T>& chunk,
                 std::int64_t b, std::int64_t c, std::int64_t g, RealOf<T>* scaled) {
  using Real = RealOf<T>;
  const std::int64_t head_dim = at.shape.head_dim;
  const std::int64_t length = at.length(c);
  for (std::int64_t i = 0; i < at.shape.heads_of_group(); ++i) {
    const std::int64_t h = g * at.shape.heads_of_group() + i;
    const Real* steps = at.of_tokens(work.steps, b, h, at.begin(c));
    const Real* sums = at.of_tokens(work.log_decays, b, h, at.begin(c));
    for (std::int64_t j = 0; j < length; ++j) {
      const Real factor = steps[j] * vector_exp(sums[length - 1] - sums[j]);
      const Real* x = chunk.x.data + j * chunk.x.stride + i * head_dim;
      Real* out = scaled + j * at.group_width() + i * head_dim;
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
  using Real = RealOf<T>;
  const SsdLayout<T> at(in);
  const SsdShape& shape = at.shape;
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const FlushDenormals flush;
        const SsdScratch<T> scratch(work.scratch, at);
        const SsdChunk<T> chunk(in, at, scratch, b, c, g);
        ssd_scale_x(work, at, chunk, b, c, g, scratch.scaled_x);
        gemm({.m = at.group_width(), .n = shape.state, .k = at.length(c)}, Real{1},
             {scratch.scaled_x, at.group_width(), Transpose::kYes}, chunk.in_matrix, Real{0},
             {at.state(work.states, b, c + 1, g * shape.heads_of_group()), shape.state});
      }
    }
  }
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const FlushDenormals flush;
      Real* first = at.state(work.states, b, 0, h);
      if (in.initial_state.defined()) {
        std::copy_n(in.initial_state.data<Real>() + (b * shape.heads + h) * at.head_state(),
                    at.head_state(), first);
      } else {
        std::fill_n(first, at.head_state(), Real{0});
      }
      for (std::int64_t c = 0; c < at.num_chunks; ++c) {
        const std::int64_t last = at.begin(c) + at.length(c) - 1;
        const Real decay = vector_exp(*at.of_tokens(work.log_decays, b, h, last));
        const Real* before = at.state(work.states, b, c, h);
        Real* after = at.state(work.states, b, c + 1, h);
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
void ssd_scores(const SsdLayout<T>& at, const SsdChunk<T>& chunk, std::int64_t length,
                RealOf<T>* scores) {
  using Real = RealOf<T>;
  const Matrix<const Real>& in = chunk.in_matrix;
  const Matrix<const Real>& out = chunk.out_matrix;
  for (std::int64_t i = 0; i < length; i += kSsdRows) {
    const std::int64_t end = std::min(i + kSsdRows, length);
    gemm({.m = end - i, .n = end, .k = at.shape.state}, Real{1},
         {out.data + i * out.stride, out.stride}, {in.data, in.stride, Transpose::kYes}, Real{0},
         {scores + i * length, length});
  }
}

/// What the state at the start of a chunk adds to y, before its decay: y[i] = H C[i] for the heads
/// of a group.
template <typename T>
void ssd_read_state(const SsdWorkspace& work, const SsdLayout<T>& at, const SsdChunk<T>& chunk,
                    std::int64_t b, std::int64_t c, std::int64_t g, const Matrix<RealOf<T>>& y) {
  using Real = RealOf<T>;
  gemm(
      {.m = at.length(c), .n = at.group_width(), .k = at.shape.state}, Real{1}, chunk.out_matrix,
      {at.state(work.states, b, c, g * at.shape.heads_of_group()), at.shape.state, Transpose::kYes},
      Real{0}, y);
}

}  // namespace ghost::cpu
