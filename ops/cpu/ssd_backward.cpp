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
              std::int64_t g, T* scaled) {
  const std::int64_t head_dim = at.shape.head_dim;
  for (std::int64_t k = 0; k < at.shape.heads_of_group(); ++k) {
    const T* sums =
        at.of_tokens(args.work.log_decays, entry.b, g * at.shape.heads_of_group() + k, at.begin(c));
    for (std::int64_t i = 0; i < at.length(c); ++i) {
      const T decay = vector_exp(sums[i]);
      const T* dy = at.y(args.dy, entry.row, at.begin(c) + i, g) + k * head_dim;
      T* out = scaled + i * at.group_width() + k * head_dim;
#pragma omp simd
      for (std::int64_t d = 0; d < head_dim; ++d) {
        out[d] = decay * dy[d];
      }
    }
  }
}

// Cotangents of the states at the start of chunks: from the outputs of chunk c,
// Q[c] = sum_i exp(s[i]) dy[i] (x) C[i], then R[c] = exp(S[c]) R[c+1] + Q[c] from the end, which
// begins with the cotangent of the final state. S[c] itself gets exp(S[c]) <R[c+1], H[c]>.
template <typename T>
void state_cotangents(const SsdBackward& args, const SsdLayout<T>& at) {
  const SsdShape& shape = at.shape;
  const std::int64_t rows = args.dy.dim(0) * at.batch;
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        const FlushDenormals flush;
        const Entry entry{.p = row / at.batch, .b = row % at.batch, .row = row};
        const SsdScratch<T> scratch(args.work.scratch, at);
        scale_dy(args, at, entry, c, g, scratch.scaled_dy);
        gemm({.m = at.group_width(), .n = shape.state, .k = at.length(c)}, T{1},
             {scratch.scaled_dy, at.group_width(), Transpose::kYes},
             {at.out_matrix(args.in.xbc, entry.b, at.begin(c), g), at.width}, T{0},
             {at.state(args.dstates, row, c, g * shape.heads_of_group()), shape.state});
      }
    }
  }
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const FlushDenormals flush;
      const std::int64_t b = row % at.batch;
      const std::int64_t offset = (row * shape.heads + h) * at.head_state();
      std::copy_n(args.dfinal_state.data<T>() + offset, at.head_state(),
                  at.state(args.dstates, row, at.num_chunks, h));
      for (std::int64_t c = at.num_chunks - 1; c >= 0; --c) {
        const std::int64_t last = at.begin(c) + at.length(c) - 1;
        const T decay = vector_exp(*at.of_tokens(args.work.log_decays, b, h, last));
        const T* after = at.state(args.dstates, row, c + 1, h);
        T* before = at.state(args.dstates, row, c, h);
        args.dlog_decay.data<T>()[(row * at.num_chunks + c) * shape.heads + h] =
            decay * dot(after, at.state(args.work.states, b, c, h), at.head_state());
#pragma omp simd
        for (std::int64_t i = 0; i < at.head_state(); ++i) {
          before[i] += decay * after[i];
        }
      }
      if (args.dinitial_state.defined()) {
        std::copy_n(at.state(args.dstates, row, 0, h), at.head_state(),
                    args.dinitial_state.data<T>() + offset);
      }
    }
  }
}

// decays[i,j] = exp(s[i] - s[j]), mixed = scores * decays below the diagonal, 0 above.
template <typename T>
void mix_head(const SsdScratch<T>& scratch, const T* sums, std::int64_t length) {
  for (std::int64_t i = 0; i < length; ++i) {
    const T* scores = scratch.scores + i * length;
    T* decays = scratch.decays + i * length;
    T* mixed = scratch.mixed + i * length;
#pragma omp simd
    for (std::int64_t j = 0; j <= i; ++j) {
      decays[j] = vector_exp(sums[i] - sums[j]);
      mixed[j] = scores[j] * decays[j];
    }
    std::fill(mixed + i + 1, mixed + length, T{0});
  }
}

// From dmixed[i,j] = dy[i] . x[j]: dscores += w[j] dmixed * decays; then dmixed becomes the
// cotangent of the exponent s[i] - s[j].
template <typename T>
void unmix_head(const SsdScratch<T>& scratch, const T* steps, std::int64_t length) {
  for (std::int64_t i = 0; i < length; ++i) {
    const T* scores = scratch.scores + i * length;
    const T* decays = scratch.decays + i * length;
    T* dmixed = scratch.dmixed + i * length;
    T* dscores = scratch.dscores + i * length;
#pragma omp simd
    for (std::int64_t j = 0; j <= i; ++j) {
      const T dscore = dmixed[j] * steps[j] * decays[j];
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
  const SsdBackward& args;
  const SsdLayout<T>& at;
  const SsdScratch<T>& scratch;
  Entry entry;
  std::int64_t c;
  std::int64_t h;
  std::int64_t length;
  const T* x;
  const T* dy;
  T* dx;
  const T* carried;     // [length, channels of the group]
  const T* from_state;  // likewise

  // dx = mixed^T dy within the chunk; rows j of the triangle begin at i = j.
  void within_chunk(const T* sums, const T* steps) const {
    const std::int64_t head_dim = at.shape.head_dim;
    const std::int64_t inner = at.shape.inner();
    mix_head(scratch, sums, length);
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      gemm({.m = end - i, .n = end, .k = head_dim}, T{1}, {dy + i * inner, inner},
           {x, at.width, Transpose::kYes}, T{0}, {scratch.dmixed + i * length, length});
      gemm({.m = end - i, .n = head_dim, .k = length - i}, T{1},
           {scratch.mixed + i * length + i, length, Transpose::kYes}, {dy + i * inner, inner}, T{0},
           {dx + i * at.width, at.width});
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
    const T* sums = at.of_tokens(args.work.log_decays, entry.b, h, begin);
    const T* steps = at.of_tokens(args.work.steps, entry.b, h, begin);
    const T skip = args.in.weights.d.defined() ? args.in.weights.d.data<T>()[h] : T{0};
    within_chunk(sums, steps);

    T* da = scratch.rows;
    T* dw = da + at.chunk;
    T* eps = dw + at.chunk;
    T* suffix = eps + at.chunk;
    T dskip = 0;
    T rho = 0;
    for (std::int64_t i = length - 1; i >= 0; --i) {
      const T* x_row = x + i * at.width;
      const T* dy_row = dy + i * shape.inner();
      const T* v = from_state + i * channels;
      T* dx_row = dx + i * at.width;
      const T left = vector_exp(sums[length - 1] - sums[i]);
      rho += vector_exp(sums[i]) * dot(dy_row, carried + i * channels, shape.head_dim);
      da[i] = rho;
      eps[i] = left * steps[i] * dot(x_row, v, shape.head_dim);
      dskip += dot(x_row, dy_row, shape.head_dim);
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < shape.head_dim; ++d) {
        const T g = dx_row[d] + left * v[d];
        sum += x_row[d] * g;
        dx_row[d] = steps[i] * g + skip * dy_row[d];
      }
      dw[i] = sum;
    }
    add_segment_sums(scratch.dmixed, length, suffix, da);
    step_cotangents(da, dw, eps, dskip);
  }

  // dt gets (dw + A da) through clamp and softplus, A_log gets A sum w da.
  void step_cotangents(const T* da, const T* dw, const T* eps, T dskip) const {
    const std::int64_t heads = at.shape.heads;
    const T rate = ssd_decay_rate<T>(args.in, h);
    const T dchunk = args.dlog_decay.data<T>()[(entry.row * at.num_chunks + c) * heads + h];
    T da_log = 0;
    T dbias = 0;
    T before = dchunk;
    for (std::int64_t k = 0; k < length; ++k) {
      const std::int64_t t = at.begin(c) + k;
      const SsdStep<T> step(args.in, entry.b, t, h);
      const T total = da[k] + before;
      const T draw = (dw[k] + rate * total) * step.slope;
      args.ddt.data<T>()[(entry.row * at.seq_len + t) * heads + h] = draw;
      da_log += step.value * total;
      dbias += draw;
      before += eps[k];
    }
    if (entry.p == 0) {
      const std::int64_t plane = at.batch * at.num_chunks * heads;
      T* partial = args.partial.data<T>() + (entry.b * at.num_chunks + c) * heads + h;
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
  const SsdInputs& in = args.in;
  const SsdShape& shape = at.shape;
  const SsdScratch<T> scratch(args.work.scratch, at);
  const std::int64_t begin = at.begin(c);
  const std::int64_t length = at.length(c);
  const std::int64_t channels = at.group_width();
  const std::int64_t first_head = g * shape.heads_of_group();
  const Matrix<const T> in_matrix{at.in_matrix(in.xbc, b, begin, g), at.width};
  const Matrix<const T> out_matrix{at.out_matrix(in.xbc, b, begin, g), at.width};
  ssd_scores(in, at, b, c, g, scratch.scores);
  ssd_read_state(in, args.work, at, b, c, g, {scratch.carried, channels});
  ssd_scale_x(in, args.work, at, b, c, g, scratch.scaled_x);

  for (std::int64_t p = 0; p < args.dy.dim(0); ++p) {
    const Entry entry{.p = p, .b = b, .row = p * at.batch + b};
    const T* dstate = at.state(args.dstates, entry.row, c + 1, first_head);
    const Matrix<T> din{at.in_matrix(args.dxbc, entry.row, begin, g), at.width};
    const Matrix<T> dout{at.out_matrix(args.dxbc, entry.row, begin, g), at.width};
    scale_dy(args, at, entry, c, g, scratch.scaled_dy);
    gemm({.m = length, .n = shape.state, .k = channels}, T{1}, {scratch.scaled_dy, channels},
         {at.state(args.work.states, b, c, first_head), shape.state}, T{0}, dout);
    gemm({.m = length, .n = shape.state, .k = channels}, T{1}, {scratch.scaled_x, channels},
         {dstate, shape.state}, T{0}, din);
    gemm({.m = length, .n = channels, .k = shape.state}, T{1}, in_matrix,
         {dstate, shape.state, Transpose::kYes}, T{0}, {scratch.from_state, channels});
    std::fill_n(scratch.dscores, length * length, T{0});
    for (std::int64_t k = 0; k < shape.heads_of_group(); ++k) {
      const std::int64_t offset = k * shape.head_dim;
      Head<T>{.args = args,
              .at = at,
              .scratch = scratch,
              .entry = entry,
              .c = c,
              .h = first_head + k,
              .length = length,
              .x = at.x(in.xbc, b, begin, g) + offset,
              .dy = at.y(args.dy, entry.row, begin, g) + offset,
              .dx = at.x(args.dxbc, entry.row, begin, g) + offset,
              .carried = scratch.carried + offset,
              .from_state = scratch.from_state + offset}
          .run();
    }
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      gemm({.m = end - i, .n = shape.state, .k = end}, T{1}, {scratch.dscores + i * length, length},
           in_matrix, T{1}, {dout.data + i * at.width, at.width});
      gemm({.m = end - i, .n = shape.state, .k = length - i}, T{1},
           {scratch.dscores + i * length + i, length, Transpose::kYes},
           {out_matrix.data + i * at.width, at.width}, T{1}, {din.data + i * at.width, at.width});
    }
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
  const T* partial = args.partial.data<T>();
  for (const SsdHeadGradient* gradient : {&args.da_log, &args.dd, &args.ddt_bias}) {
    if (gradient->grad.defined()) {
      column_sums(partial, rows, heads, gradient->accumulate, gradient->grad.data<T>());
    }
    partial += rows * heads;
  }
}

}  // namespace

void ssd(const SsdBackward& args) {
  visit_real(args.in.xbc.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
