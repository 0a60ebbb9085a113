#include "ops/cpu/ssd_chunks.h"

namespace ghost::cpu {
namespace {

// The definition, token by token; the tests hold the chunked form against it.
template <typename T>
void recurrence(const SsdForward& args) {
  using Real = RealOf<T>;
  const SsdInputs& in = args.in;
  const SsdLayout<T> at(in);
  const SsdShape& shape = at.shape;
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const std::int64_t g = h / shape.heads_of_group();
      const Real rate = ssd_decay_rate<Real>(in, h);
      const Real skip = ssd_skip<Real>(in, h);
      const std::int64_t offset = (b * shape.heads + h) * at.head_state();
      Real* state = args.final_state.data<Real>() + offset;  // [P, N]
      if (in.initial_state.defined()) {
        std::copy_n(in.initial_state.data<Real>() + offset, at.head_state(), state);
      } else {
        std::fill_n(state, at.head_state(), Real{0});
      }
      for (std::int64_t t = 0; t < at.seq_len; ++t) {
        const Real step = SsdStep<T>(in, b, t, h).value;
        const Real decay = std::exp(step * rate);
        const T* x = at.row(in.xbc, b, t) + h * shape.head_dim;
        const T* in_row = at.in_matrix(in.xbc, b, t, g);
        const T* out_row = at.out_matrix(in.xbc, b, t, g);
        T* y = at.y(args.y, b, t, 0) + h * shape.head_dim;
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          Real* row = state + d * shape.state;
          const Real input = step * widen(x[d]);
          Real sum = 0;
#pragma omp simd reduction(+ : sum)
          for (std::int64_t n = 0; n < shape.state; ++n) {
            row[n] = decay * row[n] + input * widen(in_row[n]);
            sum += row[n] * widen(out_row[n]);
          }
          put(y[d], sum + skip * widen(x[d]));
        }
      }
    }
  }
}

// mixed[i,j] = scores[i,j] exp(s[i] - s[j]) w[j] below the diagonal, 0 above: y += mixed x.
template <typename T>
void mix_head(const T* scores, const T* sums, const T* steps, std::int64_t length, T* mixed) {
  for (std::int64_t i = 0; i < length; ++i) {
    const T* from = scores + i * length;
    T* row = mixed + i * length;
#pragma omp simd
    for (std::int64_t j = 0; j <= i; ++j) {
      row[j] = from[j] * vector_exp(sums[i] - sums[j]) * steps[j];
    }
    std::fill(row + i + 1, row + length, T{0});
  }
}

// y of one chunk for the heads of one group, from the chunk's tokens and the state before them.
template <typename T>
void chunk_outputs(const SsdForward& args, const SsdLayout<T>& at, std::int64_t b, std::int64_t c,
                   std::int64_t g) {
  using Real = RealOf<T>;
  const SsdInputs& in = args.in;
  const SsdShape& shape = at.shape;
  const SsdScratch<T> scratch(args.work.scratch, at);
  const SsdChunk<T> chunk(in, at, scratch, b, c, g);
  const std::int64_t begin = at.begin(c);
  const std::int64_t length = at.length(c);
  T* const rows = at.y(args.y, b, begin, g);
  const Matrix<Real> out = place_rows(rows, shape.inner(), at.group_width(), scratch.out);
  ssd_scores(at, chunk, length, scratch.scores);
  ssd_read_state(args.work, at, chunk, b, c, g, out);
  for (std::int64_t k = 0; k < shape.heads_of_group(); ++k) {
    const std::int64_t h = g * shape.heads_of_group() + k;
    const Real skip = ssd_skip<Real>(in, h);
    const Real* sums = at.of_tokens(args.work.log_decays, b, h, begin);
    const Real* x = chunk.x.data + k * shape.head_dim;
    Real* y = out.data + k * shape.head_dim;
    for (std::int64_t i = 0; i < length; ++i) {
      const Real decay = vector_exp(sums[i]);
      const Real* x_row = x + i * chunk.x.stride;
      Real* y_row = y + i * out.stride;
#pragma omp simd
      for (std::int64_t d = 0; d < shape.head_dim; ++d) {
        y_row[d] = decay * y_row[d] + skip * x_row[d];
      }
    }
    mix_head(scratch.scores, sums, at.of_tokens(args.work.steps, b, h, begin), length,
             scratch.mixed);
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      gemm({.m = end - i, .n = shape.head_dim, .k = end}, Real{1},
           {scratch.mixed + i * length, length}, {x, chunk.x.stride}, Real{1},
           {y + i * out.stride, out.stride});
    }
  }
  store_rows(out, rows, shape.inner(), length, at.group_width());
}

template <typename T>
void chunked(const SsdForward& args) {
  const SsdLayout<T> at(args.in);
  ssd_steps<T>(args.in, args.work);
  ssd_states<T>(args.in, args.work);
#pragma omp parallel for schedule(static) collapse(3) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t c = 0; c < at.num_chunks; ++c) {
      for (std::int64_t g = 0; g < at.shape.groups; ++g) {
        const FlushDenormals flush;
        chunk_outputs(args, at, b, c, g);
      }
    }
  }
  for (std::int64_t b = 0; b < at.batch; ++b) {
    const std::int64_t size = at.shape.heads * at.head_state();
    std::copy_n(at.state(args.work.states, b, at.num_chunks, 0), size,
                args.final_state.data<RealOf<T>>() + b * size);
  }
}

}  // namespace

std::int64_t ssd_scratch(const SsdShape& shape, std::int64_t chunk, DType dtype) {
  return omp_get_max_threads() *
         visit_floating(dtype, [&]<typename T>() { return SsdScratch<T>::size(shape, chunk); });
}

void ssd(const SsdForward& args) {
  visit_floating(args.in.xbc.dtype(), [&]<typename T>() {
    if (args.in.config.chunk == 0) {
      recurrence<T>(args);
    } else {
      chunked<T>(args);
    }
  });
}

}  // namespace ghost::cpu
