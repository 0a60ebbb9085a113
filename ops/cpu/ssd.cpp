#include "ops/cpu/ssd_chunks.h"

namespace ghost::cpu {
namespace {

// The definition, token by token; the tests hold the chunked form against it.
template <typename T>
void recurrence(const SsdForward& args) {
  const SsdInputs& in = args.in;
  const SsdLayout<T> at(in);
  const SsdShape& shape = at.shape;
#pragma omp parallel for schedule(static) collapse(2) if (at.is_large())
  for (std::int64_t b = 0; b < at.batch; ++b) {
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const std::int64_t g = h / shape.heads_of_group();
      const T rate = ssd_decay_rate<T>(in, h);
      const T skip = in.weights.d.defined() ? in.weights.d.data<T>()[h] : T{0};
      const std::int64_t offset = (b * shape.heads + h) * at.head_state();
      T* state = args.final_state.data<T>() + offset;  // [P, N]
      if (in.initial_state.defined()) {
        std::copy_n(in.initial_state.data<T>() + offset, at.head_state(), state);
      } else {
        std::fill_n(state, at.head_state(), T{0});
      }
      for (std::int64_t t = 0; t < at.seq_len; ++t) {
        const T step = SsdStep<T>(in, b, t, h).value;
        const T decay = std::exp(step * rate);
        const T* x = at.row(in.xbc, b, t) + h * shape.head_dim;
        const T* in_row = at.in_matrix(in.xbc, b, t, g);
        const T* out_row = at.out_matrix(in.xbc, b, t, g);
        T* y = at.y(args.y, b, t, 0) + h * shape.head_dim;
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          T* row = state + d * shape.state;
          T sum = 0;
#pragma omp simd reduction(+ : sum)
          for (std::int64_t n = 0; n < shape.state; ++n) {
            row[n] = decay * row[n] + step * x[d] * in_row[n];
            sum += row[n] * out_row[n];
          }
          y[d] = sum + skip * x[d];
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
  const SsdInputs& in = args.in;
  const SsdShape& shape = at.shape;
  const SsdScratch<T> scratch(args.work.scratch, at);
  const std::int64_t begin = at.begin(c);
  const std::int64_t length = at.length(c);
  ssd_scores(in, at, b, c, g, scratch.scores);
  ssd_read_state(in, args.work, at, b, c, g, {at.y(args.y, b, begin, g), shape.inner()});
  for (std::int64_t k = 0; k < shape.heads_of_group(); ++k) {
    const std::int64_t h = g * shape.heads_of_group() + k;
    const T skip = in.weights.d.defined() ? in.weights.d.data<T>()[h] : T{0};
    const T* sums = at.of_tokens(args.work.log_decays, b, h, begin);
    const T* x = at.x(in.xbc, b, begin, g) + k * shape.head_dim;
    T* y = at.y(args.y, b, begin, g) + k * shape.head_dim;
    for (std::int64_t i = 0; i < length; ++i) {
      const T decay = vector_exp(sums[i]);
#pragma omp simd
      for (std::int64_t d = 0; d < shape.head_dim; ++d) {
        y[i * shape.inner() + d] = decay * y[i * shape.inner() + d] + skip * x[i * at.width + d];
      }
    }
    mix_head(scratch.scores, sums, at.of_tokens(args.work.steps, b, h, begin), length,
             scratch.mixed);
    for (std::int64_t i = 0; i < length; i += kSsdRows) {
      const std::int64_t end = std::min(i + kSsdRows, length);
      gemm({.m = end - i, .n = shape.head_dim, .k = end}, T{1},
           {scratch.mixed + i * length, length}, {x, at.width}, T{1},
           {y + i * shape.inner(), shape.inner()});
    }
  }
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
                args.final_state.data<T>() + b * size);
  }
}

}  // namespace

std::int64_t ssd_scratch(const SsdShape& shape, std::int64_t chunk) {
  return omp_get_max_threads() * SsdScratch<float>::size(shape, chunk);
}

void ssd(const SsdForward& args) {
  visit_real(args.in.xbc.dtype(), [&]<typename T>() {
    if (args.in.config.chunk == 0) {
      recurrence<T>(args);
    } else {
      chunked<T>(args);
    }
  });
}

}  // namespace ghost::cpu
