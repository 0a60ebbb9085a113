#include <algorithm>
#include <omp.h>

#include "ops/cpu/gemm.h"
#include "ops/cpu/mamba3_head_backward.h"
#include "ops/cpu/parallel.h"

namespace ghost::cpu {
namespace {

template <typename T>
std::int64_t head_workspace(const Mamba3Size& size) {
  Carver<T> carver(nullptr);
  const HeadScratch<T> scratch(carver, size);
  return carver.used();
}

template <typename T>
std::int64_t thread_workspace(const Mamba3Size& size) {
  Carver<T> carver(nullptr);
  const ThreadScratch<T> scratch(carver, size);
  return carver.used();
}

// What forward knew of one head: rotated rows, coefficients and the state before each chunk.
template <typename T>
void repeat_forward(const Mamba3CoreBackward& args, const Mamba3Head<T>& at, const T* theta,
                    HeadScratch<T> saved, const ThreadScratch<T>& scratch) {
  const Mamba3Size& size = args.size;
  const std::int64_t state = size.state;
  const PairLayout pairs(args.pairing, state);
  saved.c.fill(at);
  initial_angles(at, scratch.dphi);
  for (std::int64_t t = 0; t < size.seq_len; ++t) {
    T* cosines = saved.cosines + t * size.angles;
    T* sines = saved.sines + t * size.angles;
    T* q = saved.q + t * size.ranks * state;
    T* k = saved.k + t * size.ranks * state;
    advance_angles(scratch.dphi, theta + t * size.angles, args.in.dt.data<T>()[at.scalar(t)],
                   cosines, sines, size.angles);
    biased_rows(at, t, args.in.q, args.in.q_bias, q);
    biased_rows(at, t, args.in.k, args.in.k_bias, k);
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      rotate(q + r * state, cosines, sines, size.angles, pairs, T{1});
      rotate(k + r * state, cosines, sines, size.angles, pairs, T{1});
    }
  }
  initial_state(at, saved.c.back[0], scratch.x, saved.states);
  for (std::int64_t chunk = 0; chunk + 1 < size.num_chunks(); ++chunk) {
    const std::int64_t t0 = chunk * size.chunk;
    const T total = saved.c.s[t0 + size.chunk - 1];
    for (std::int64_t i = 0; i < size.chunk; ++i) {
      T* x = scratch.x + i * size.ranks * size.head_dim;
      rank_values(at, args.in.v.data<T>() + at.value(t0 + i), x);
      const T weight = vector_exp(total - saved.c.s[t0 + i]) * saved.c.sigma[t0 + i];
      for (std::int64_t p = 0; p < size.ranks * size.head_dim; ++p) {
        x[p] *= weight;
      }
    }
    T* next = saved.states + (chunk + 1) * size.state_numel();
    std::copy_n(next - size.state_numel(), size.state_numel(), next);
    gemm({.m = size.head_dim, .n = state, .k = size.chunk_rows()}, T{1},
         {scratch.x, size.head_dim, Transpose::kYes}, {saved.k + t0 * size.ranks * state, state},
         vector_exp(total), {next, state});
  }
}

/// The scratch of all heads of one batch entry.
template <typename T>
struct Heads {
  T* base;
  const Mamba3Size& size;
  std::int64_t each;

  HeadScratch<T> operator[](std::int64_t head) const {
    Carver<T> carver(base + head * each);
    return HeadScratch<T>(carver, size);
  }
};

// dq and dk added over the heads of each group, dangle over all: every token by one thread, the
// heads in order.
template <typename T>
void add_heads(const Mamba3CoreBackward& args, const Heads<T>& heads, const T* theta,
               std::int64_t out_batch) {
  const Mamba3Size& size = args.size;
  const auto add_rows = [&](const Tensor& grad, T* HeadScratch<T>::*rows, std::int64_t t) {
    if (!grad.defined()) {
      return;
    }
    const std::int64_t token = out_batch * size.seq_len + t;
    std::fill_n(grad.data<T>() + token * size.ranks * size.groups * size.state,
                size.ranks * size.groups * size.state, T{0});
    for (std::int64_t head = 0; head < size.heads; ++head) {
      const HeadScratch<T> saved = heads[head];
      const std::int64_t group = head / (size.heads / size.groups);
      for (std::int64_t r = 0; r < size.ranks; ++r) {
        add_scaled(grad.data<T>() + ((token * size.ranks + r) * size.groups + group) * size.state,
                   saved.*rows + (t * size.ranks + r) * size.state, T{1}, size.state);
      }
    }
  };
#pragma omp parallel for schedule(static) if (size.elements() > kParallelElements)
  for (std::int64_t t = 0; t < size.seq_len; ++t) {
    add_rows(args.grad.q, &HeadScratch<T>::dq, t);
    add_rows(args.grad.k, &HeadScratch<T>::dk, t);
    if (args.grad.angle.defined()) {
      // theta = pi tanh(angle):   dangle = pi (1 - tanh^2) sum over heads of dtheta
      T* dangle = args.grad.angle.data<T>() + (out_batch * size.seq_len + t) * size.angles;
      std::fill_n(dangle, size.angles, T{0});
      for (std::int64_t head = 0; head < size.heads; ++head) {
        add_scaled(dangle, heads[head].dtheta + t * size.angles, T{1}, size.angles);
      }
      for (std::int64_t m = 0; m < size.angles; ++m) {
        const T tanh = theta[t * size.angles + m] / std::numbers::pi_v<T>;
        dangle[m] *= std::numbers::pi_v<T> * (1 - tanh * tanh);
      }
    }
  }
}

// One batch entry at a time, threads share its heads: what a head has to remember of a sequence
// is as large as its keys.
template <typename T>
void backward(const Mamba3CoreBackward& args) {
  const Mamba3Size& size = args.size;
  const std::int64_t basis = args.dout.dim(0);
  const std::int64_t rates = size.seq_len * size.angles;
  T* theta = args.workspace.data<T>();
  const Heads<T> heads{.base = theta + rates, .size = size, .each = head_workspace<T>(size)};
  T* threads = heads.base + size.heads * heads.each;
  const std::int64_t per_thread = thread_workspace<T>(size);
  for (std::int64_t b = 0; b < size.batch; ++b) {
    angle_rates(args.in.angle.data<T>() + b * rates, rates, theta);
    for (std::int64_t p = 0; p < basis; ++p) {
#pragma omp parallel for schedule(static) if (size.elements() > kParallelElements)
      for (std::int64_t head = 0; head < size.heads; ++head) {
        Carver<T> carver(threads + omp_get_thread_num() * per_thread);
        const ThreadScratch<T> scratch(carver, size);
        const HeadScratch<T> saved = heads[head];
        if (p == 0) {
          repeat_forward(args, {.in = args.in, .size = size, .batch = b, .head = head}, theta,
                         saved, scratch);
        }
        HeadBackward<T>(args, p, b, head, theta, saved, scratch).run();
      }
      add_heads(args, heads, theta, p * size.batch + b);
    }
  }
}

}  // namespace

std::int64_t mamba3_core_backward_workspace(const Mamba3Size& size) {
  return size.seq_len * size.angles + size.heads * head_workspace<float>(size) +
         omp_get_max_threads() * thread_workspace<float>(size);
}

void mamba3_core(const Mamba3CoreBackward& args) {
  visit_real(args.in.v.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
