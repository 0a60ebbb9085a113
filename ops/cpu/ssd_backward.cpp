#include "ops/cpu/column_sums.h"
#include "ops/cpu/ssd_chunks.h"

namespace ghost::cpu {
namespace {

template <typename T>
T dot(const T* a, const T* b, std::int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

/// One of the P cotangents of one batch entry; the first index of tensors [P, B, ...] is `row`.
struct Entry {
  std::int64_t p;
  std::int64_t b;
  std::int64_t row;
};

// exp(s[i]) dy[i] of a chunk for the heads of a group: [length, channels].
template <typename T>
void scale_dy(const SsdBackward& args, const SsdLayout<T>& at, const Entry& entry, std::int64_t c,
              std::int64_t g, const Matrix<const RealOf<T>>& rows, RealOf<T>* scaled) {
  using Real = RealOf<T>;
  const std::int64_t head_dim = at.shape.head_dim;
  for (std::int64_t k = 0; k < at.shape.heads_of_group(); ++k) {
    const Real* sums =
        at.of_tokens(args.work.log_decays, entry.b, g * at.shape.heads_of_group() + k, at.begin(c));
    for (std::int64_t i = 0; i < at.length(c); ++i) {
      const Real decay = vector_exp(sums[i]);
      const Real* dy = rows.data + i * rows.stride + k * head_dim;
      Real* out = scaled + i * at.group_width() + k * head_dim;
#pragma omp simd
      for (std::int64_t d = 0; d < head_dim; ++d) {
        out[d] = decay * dy[d];
      }
    }
  }
}

// dy of a chunk for the heads of a group.
template <typename T>
Matrix<const RealOf<T>> load_dy(const SsdBackward& args, const SsdLayout<T>& at,
                                const SsdScratch<T>& scratch, const Entry& entry, std::int64_t c,
                                std::int64_t g) {
  const T* rows = at.y(args.dy, entry.row, at.begin(c), g);
  return load_rows(rows, at.shape.inner(), at.length(c), at.group_width(), scratch.dy);
}

// Cotangents of the states at the start of chunks: from the outputs of chunk c,
// Q[c] = sum_i exp(s[i]) dy[i] (x) C[i], then R[c] = exp(S[c]) R[c+1] + Q[c] from the end, which
// begins with the cotangent of the final state. S[c] itself gets exp(S[c]) <R[c+1], H[c]>.
template <typename T>
void state_cotangents(const SsdBackward& args, const SsdLayout<T>& at) {
  using Real = RealOf<T>;
  const SsdShape& shape = at.shape;
  const std::int64_t rows = args.dy.dim(0) * at.batch;
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const FlushDenormals flush;
        const Entry entry{.p = row / at.batch, .b = row % at.batch, .row = row};
        const SsdScratch<T> scratch(args.work.scratch, at);
        scale_dy(args, at, entry, c, g, load_dy(args, at, scratch, entry, c, g), scratch.scaled_dy);
        gemm({.m = at.group_width(), .n = shape.state, .k = at.length(c)}, Real{1},
             {scratch.scaled_dy, at.group_width(), Transpose::kYes},
             load_rows(at.out_matrix(args.in.xbc, entry.b, at.begin(c), g), at.width, at.length(c),
                       shape.state, scratch.out_matrix),
             Real{0}, {at.state(args.dstates, row, c, g * shape.heads_of_group()), shape.state});
      }
    }
  }
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const FlushDenormals flush;
      const std::int64_t b = row % at.batch;
      const std::int64_t offset = (row * shape.heads + h) * at.head_state();
      std::copy_n(args.dfinal_state.data<Real>() + offset, at.head_state(),
                  at.state(args.dstates, row, at.num_chunks, h));
      for (std::int64_t c = at.num_chunks - 1; c >= 0; --c) {
        const std::int64_t last = at.begin(c) + at.length(c) - 1;
        const Real decay = vector_exp(*at.of_tokens(args.work.log_decays, b, h, last));
        const Real* after = at.state(args.dstates, row, c + 1, h);
        Real* before = at.state(args.dstates, row, c, h);
        args.dlog_decay.data<Real>()[(row * at.num_chunks + c) * shape.heads + h] =
            decay * dot(after, at.state(args.work.states, b, c, h), at.head_state());
#pragma omp simd
        for (std::int64_t i = 0; i < at.head_state(); ++i) {
          before[i] += decay * after[i];
        }
      }
      if (args.dinitial_state.defined()) {
        std::copy_n(at.state(args.dstates, row, 0, h), at.head_state(),
                    args.dinitial_state.data<Real>() + offset);
      }
    }
  }
}

// decays[i,j] = exp(s[i] - s[j]), mixed = scores * decays below the diagonal, 0 above.
template <typename T>
void mix_head(const SsdScratch<T>& scratch, const RealOf<T>* sums, std::int64_t length) {
  using Real = RealOf<T>;
  for (std::int64_t i = 0; i < length; ++i) {
    const Real* scores = scratch.scores + i * length;
    Real* decays = scratch.decays + i * length;
    Real* mixed = scratch.mixed + i * length;
#pragma omp simd
    for (std::int64_t j = 0; j <= i; ++j) {
      decays[j] = vector_exp(sums[i] - sums[j]);
      mixed[j] = scores[j] * decays[j];
    }
    std::fill(mixed + i + 1, mixed + length, Real{0});
  }
}

// From dmixed[i,j] = dy[i] . x[j]: dscores += w[j] dmixed * decays; then dmixed becomes the
// cotangent of the exponent s[i] - s[j].
template <typename T>
void unmix_head(const SsdScratch<T>& scratch, const RealOf<T>* steps, std::int64_t length) {
  using Real = RealOf<T>;
  for (std::int64_t i = 0; i < length; ++i) {
    const Real* scores = scratch.scores + i * length;
    const Real* decays = scratch.decays + i * length;
    Real* dmixed = scratch.dmixed + i * length;
    Real* dscores = scratch.dscores + i * length;
#pragma omp simd
    for (std::int64_t j = 0; j <= i; ++j) {
      const Real dscore = dmixed[j] * steps[j] * decays[j];
      dscores[j] += dscore;
      dmixed[j] = dscore * scores[j];
    }
  }
}

// Of dexponents [length, length] below the diagonal: out[k] += sum over i >= k > j, the exponents
// that hold a[k]. `suffix` [length] is scratch. Differences of row and column sums would be equal
// on paper and cancel in f32.
template <typename T>
void add_segment_sums(const T* dexponents, std::int64_t length, T* suffix, T* out) {
  std::fill_n(suffix, length, T{0});
  for (std::int64_t k = length - 1; k > 0; --k) {
    const T* row = dexponents + k * length;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < k; ++j) {
      suffix[j] += row[j];
      sum += suffix[j];
    }
    out[k] += sum;
  }
}

/// One head of one chunk under one cotangent; pointers start at the chunk and at the head.
template <typename T>
struct Head {
  using Real = RealOf<T>;

  const SsdBackward& args;
  const SsdLayout<T>& at;
  const SsdScratch<T>& scratch;
  Entry entry;
  std::int64_t c;
  std::int64_t h;
  std::int64_t length;
  Matrix<const Real> x;
  Matrix<const Real> dy;
  Matrix<Real> dx;
  const Real* carried;     // [length, channels of the group]
  const Real* from_state;  // likewise

  // dx = mixed^T dy within the chunk; rows j of the triangle begin at i = j.
  void within_chunk(const Real* sums, const Real* steps) const {
    const std::int64_t head_dim = at.shape.head_dim;
    mix_head(scratch, sums, length);
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      const Matrix<const Real> dy_rows{dy.data + i * dy.stride, dy.stride};
      gemm({.m = end - i, .n = end, .k = head_dim}, Real{1}, dy_rows,
           {x.data, x.stride, Transpose::kYes}, Real{0}, {scratch.dmixed + i * length, length});
      gemm({.m = end - i, .n = head_dim, .k = length - i}, Real{1},
           {scratch.mixed + i * length + i, length, Transpose::kYes}, dy_rows, Real{0},
           {dx.data + i * dx.stride, dx.stride});
    }
    unmix_head(scratch, steps, length);
  }

  // With E[j] = exp(S - s[j]), v = R B[j] (from_state) and g the cotangent of w[j] x[j]:
  //   g = within the chunk + E v,   dw = x . g,   dx = w g + D dy
  //   da[k] = sum_{i >= k} rho[i] + sum_{j < k} eps[j] + dS + segment sums,
  //   rho[i] = dy[i] . carried[i],   eps[j] = E w x . v
  void run() const {
    const SsdShape& shape = at.shape;
    const std::int64_t begin = at.begin(c);
    const std::int64_t channels = at.group_width();
    const Real* sums = at.of_tokens(args.work.log_decays, entry.b, h, begin);
    const Real* steps = at.of_tokens(args.work.steps, entry.b, h, begin);
    const Real skip = ssd_skip<Real>(args.in, h);
    within_chunk(sums, steps);

    Real* da = scratch.rows;
    Real* dw = da + at.chunk;
    Real* eps = dw + at.chunk;
    Real* suffix = eps + at.chunk;
    Real dskip = 0;
    Real rho = 0;
    for (std::int64_t i = length - 1; i >= 0; --i) {
      const Real* x_row = x.data + i * x.stride;
      const Real* dy_row = dy.data + i * dy.stride;
      const Real* v = from_state + i * channels;
      Real* dx_row = dx.data + i * dx.stride;
      const Real left = vector_exp(sums[length - 1] - sums[i]);
      rho += vector_exp(sums[i]) * dot(dy_row, carried + i * channels, shape.head_dim);
      da[i] = rho;
      eps[i] = left * steps[i] * dot(x_row, v, shape.head_dim);
      dskip += dot(x_row, dy_row, shape.head_dim);
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < shape.head_dim; ++d) {
        const Real g = dx_row[d] + left * v[d];
        sum += x_row[d] * g;
        dx_row[d] = steps[i] * g + skip * dy_row[d];
      }
      dw[i] = sum;
    }
    add_segment_sums(scratch.dmixed, length, suffix, da);
    step_cotangents(da, dw, eps, dskip);
  }

  // dt gets (dw + A da) through clamp and softplus, A_log gets A sum w da.
  void step_cotangents(const Real* da, const Real* dw, const Real* eps, Real dskip) const {
    const std::int64_t heads = at.shape.heads;
    const Real rate = ssd_decay_rate<Real>(args.in, h);
    const Real dchunk = args.dlog_decay.data<Real>()[(entry.row * at.num_chunks + c) * heads + h];
    Real da_log = 0;
    Real dbias = 0;
    Real before = dchunk;
    for (std::int64_t k = 0; k < length; ++k) {
      const std::int64_t t = at.begin(c) + k;
      const SsdStep<T> step(args.in, entry.b, t, h);
      const Real total = da[k] + before;
      const Real draw = (dw[k] + rate * total) * step.slope;
      put(args.ddt.data<T>()[(entry.row * at.seq_len + t) * heads + h], draw);
      da_log += step.value * total;
      dbias += draw;
      before += eps[k];
    }
    if (entry.p == 0) {
      const std::int64_t plane = at.batch * at.num_chunks * heads;
      Real* partial = args.partial.data<Real>() + (entry.b * at.num_chunks + c) * heads + h;
      partial[0] = rate * da_log;
      partial[plane] = dskip;
      partial[2 * plane] = dbias;
    }
  }
};

// Everything of one chunk and the heads of one group, under all cotangents: the group's dB and dC
// are sums over its heads, formed in one matrix product each where they come from states.
template <typename T>
void chunk_cotangents(const SsdBackward& args, const SsdLayout<T>& at, std::int64_t b,
                      std::int64_t c, std::int64_t g) {
  using Real = RealOf<T>;
  const SsdShape& shape = at.shape;
  const SsdScratch<T> scratch(args.work.scratch, at);
  const SsdChunk<T> chunk(args.in, at, scratch, b, c, g);
  const std::int64_t begin = at.begin(c);
  const std::int64_t length = at.length(c);
  const std::int64_t channels = at.group_width();
  const std::int64_t first_head = g * shape.heads_of_group();
  const Matrix<const Real>& out_matrix = chunk.out_matrix;
  ssd_scores(at, chunk, length, scratch.scores);
  ssd_read_state(args.work, at, chunk, b, c, g, {scratch.carried, channels});
  ssd_scale_x(args.work, at, chunk, b, c, g, scratch.scaled_x);

  for (std::int64_t p = 0; p < args.dy.dim(0); ++p) {
    const Entry entry{.p = p, .b = b, .row = p * at.batch + b};
    const Real* dstate = at.state(args.dstates, entry.row, c + 1, first_head);
    T* const dx_rows = at.x(args.dxbc, entry.row, begin, g);
    T* const din_rows = at.in_matrix(args.dxbc, entry.row, begin, g);
    T* const dout_rows = at.out_matrix(args.dxbc, entry.row, begin, g);
    const Matrix<Real> dx = place_rows(dx_rows, at.width, channels, scratch.out);
    const Matrix<Real> din = place_rows(din_rows, at.width, shape.state, scratch.din);
    const Matrix<Real> dout = place_rows(dout_rows, at.width, shape.state, scratch.dout);
    const Matrix<const Real> dy = load_dy(args, at, scratch, entry, c, g);
    scale_dy(args, at, entry, c, g, dy, scratch.scaled_dy);
    gemm({.m = length, .n = shape.state, .k = channels}, Real{1}, {scratch.scaled_dy, channels},
         {at.state(args.work.states, b, c, first_head), shape.state}, Real{0}, dout);
    gemm({.m = length, .n = shape.state, .k = channels}, Real{1}, {scratch.scaled_x, channels},
         {dstate, shape.state}, Real{0}, din);
    gemm({.m = length, .n = channels, .k = shape.state}, Real{1}, chunk.in_matrix,
         {dstate, shape.state, Transpose::kYes}, Real{0}, {scratch.from_state, channels});
    std::fill_n(scratch.dscores, length * length, Real{0});
    for (std::int64_t k = 0; k < shape.heads_of_group(); ++k) {
      const std::int64_t offset = k * shape.head_dim;
      Head<T>{.args = args,
              .at = at,
              .scratch = scratch,
              .entry = entry,
              .c = c,
              .h = first_head + k,
              .length = length,
              .x = {chunk.x.data + offset, chunk.x.stride},
              .dy = {dy.data + offset, dy.stride},
              .dx = {dx.data + offset, dx.stride},
              .carried = scratch.carried + offset,
              .from_state = scratch.from_state + offset}
          .run();
    }
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      gemm({.m = end - i, .n = shape.state, .k = end}, Real{1},
           {scratch.dscores + i * length, length}, chunk.in_matrix, Real{1},
           {dout.data + i * dout.stride, dout.stride});
      gemm({.m = end - i, .n = shape.state, .k = length - i}, Real{1},
           {scratch.dscores + i * length + i, length, Transpose::kYes},
           {out_matrix.data + i * out_matrix.stride, out_matrix.stride}, Real{1},
           {din.data + i * din.stride, din.stride});
    }
    store_rows(dx, dx_rows, at.width, length, channels);
    store_rows(din, din_rows, at.width, length, shape.state);
    store_rows(dout, dout_rows, at.width, length, shape.state);
  }
}

template <typename T>
void backward(const SsdBackward& args) {
  const SsdLayout<T> at(args.in);
  ssd_steps<T>(args.in, args.work);
  ssd_states<T>(args.in, args.work);
  state_cotangents(args, at);
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < at.shape.groups; ++g) {
        const FlushDenormals flush;
        chunk_cotangents(args, at, b, c, g);
      }
    }
  }
  const std::int64_t heads = at.shape.heads;
  const std::int64_t rows = at.batch * at.num_chunks;
  const auto* partial = args.partial.data<RealOf<T>>();
  for (const SsdHeadGradient* gradient : {&args.da_log, &args.dd, &args.ddt_bias}) {
    if (gradient->grad.defined()) {
      column_sums(partial, rows, heads, gradient->accumulate, gradient->grad.data<RealOf<T>>());
    }
    partial += rows * heads;
  }
}

}  // namespace

void ssd(const SsdBackward& args) {
  visit_floating(args.in.xbc.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
