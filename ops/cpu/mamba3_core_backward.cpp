#include <algorithm>
#include <numbers>
#include <omp.h>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/mamba3_head_backward.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"

namespace ghost::cpu {
namespace {

/// Where the scratch of heads and threads lies. One batch entry at a time: what its heads leave for
/// each other is as large as their keys.
template <typename T>
class Layout {
 public:
  Layout(T* base, const Mamba3Size& size, std::int64_t basis)
      : size_(size), is_forward_shared_(basis > 1) {
    Carver<T> forward(nullptr);
    HeadForward<T>(forward, size);
    Carver<T> gradient(nullptr);
    HeadGradient<T>(gradient, size);
    Carver<T> thread(nullptr);
    ThreadScratch<T>(thread, size);
    forward_each_ = forward.used();
    gradient_each_ = gradient.used();
    thread_each_ = thread.used();
    Carver<T> all(base);
    theta = all.take(size.seq_len * size.angles);
    // One cotangent follows on the forward pass of its head: it stays in the thread's cache.
    forward_ = all.take((is_forward_shared_ ? size.heads : omp_get_max_threads()) * forward_each_);
    gradient_ = all.take(size.heads * gradient_each_);
    thread_ = all.take(omp_get_max_threads() * thread_each_);
    elements = all.used();
  }

  HeadForward<T> forward(std::int64_t head) const {
    return at<HeadForward<T>>(forward_ +
                              (is_forward_shared_ ? head : omp_get_thread_num()) * forward_each_);
  }
  HeadGradient<T> gradient(std::int64_t head) const {
    return at<HeadGradient<T>>(gradient_ + head * gradient_each_);
  }
  ThreadScratch<T> thread() const {
    return at<ThreadScratch<T>>(thread_ + omp_get_thread_num() * thread_each_);
  }

  T* theta;  // [T, S]
  std::int64_t elements;

 private:
  template <typename Scratch>
  Scratch at(T* base) const {
    Carver<T> carver(base);
    return Scratch(carver, size_);
  }

  const Mamba3Size& size_;
  bool is_forward_shared_;
  std::int64_t forward_each_;
  std::int64_t gradient_each_;
  std::int64_t thread_each_;
  T* forward_;
  T* gradient_;
  T* thread_;
};

// What forward knew of one head: rotated rows, coefficients and the state before each chunk.
template <typename T>
void repeat_forward(const Mamba3CoreBackward& args, const Mamba3Head<T>& at, const RealOf<T>* theta,
                    const HeadForward<RealOf<T>>& saved, const ThreadScratch<RealOf<T>>& scratch) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t state = size.state;
  const PairLayout pairs(args.pairing, state);
  Mamba3Coefficients<Real> coefficients = saved.c;
  coefficients.fill(at);
  initial_angles(at, scratch.dphi);
  for (std::int64_t t = 0; t < size.seq_len; ++t) {
    Real* cosines = saved.cosines + t * size.angles;
    Real* sines = saved.sines + t * size.angles;
    Real* q = saved.q + t * size.ranks * state;
    Real* k = saved.k + t * size.ranks * state;
    advance_angles(scratch.dphi, theta + t * size.angles, args.in.dt.data<Real>()[at.scalar(t)],
                   cosines, sines, size.angles);
    biased_rows(at, t, args.in.q, args.in.q_bias, q);
    biased_rows(at, t, args.in.k, args.in.k_bias, k);
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      rotate(q + r * state, cosines, sines, size.angles, pairs);
      rotate(k + r * state, cosines, sines, size.angles, pairs);
    }
  }
  initial_state(at, saved.c.back[0], scratch.x, saved.states);
  for (std::int64_t chunk = 0; chunk + 1 < size.num_chunks(); ++chunk) {
    const std::int64_t t0 = chunk * size.chunk;
    const Real total = saved.c.s[t0 + size.chunk - 1];
    for (std::int64_t i = 0; i < size.chunk; ++i) {
      Real* x = scratch.x + i * size.ranks * size.head_dim;
      rank_values(at, args.in.v.data<T>() + at.value(t0 + i), x);
      const Real weight = vector_exp(total - saved.c.s[t0 + i]) * saved.c.sigma[t0 + i];
      for (std::int64_t p = 0; p < size.ranks * size.head_dim; ++p) {
        x[p] *= weight;
      }
    }
    Real* next = saved.states + (chunk + 1) * size.state_numel();
    std::copy_n(next - size.state_numel(), size.state_numel(), next);
    gemm({.m = size.head_dim, .n = state, .k = size.chunk_rows()}, Real{1},
         {scratch.x, size.head_dim, Transpose::kYes}, {saved.k + t0 * size.ranks * state, state},
         vector_exp(total), {next, state});
  }
}

// dq or dk of token t added over the heads of each group, in order. `sums` [R, G, N] is scratch.
template <typename T>
void add_keys(const Mamba3CoreBackward& args, const Layout<RealOf<T>>& layout,
              RealOf<T>* HeadGradient<RealOf<T>>::*rows, std::int64_t t, RealOf<T>* sums, T* out) {
  const Mamba3Size& size = args.size;
  const std::int64_t count = size.ranks * size.groups * size.state;
  std::fill_n(sums, count, RealOf<T>{0});
  for (std::int64_t head = 0; head < size.heads; ++head) {
    const HeadGradient<RealOf<T>> found = layout.gradient(head);
    const std::int64_t group = head / (size.heads / size.groups);
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      add_scaled(sums + (r * size.groups + group) * size.state,
                 found.*rows + (t * size.ranks + r) * size.state, RealOf<T>{1}, size.state);
    }
  }
  put_row(sums, out, count);
}

// The same for the angles, over all heads. With theta = pi tanh(angle):
//   dangle = pi (1 - tanh^2) sum over heads of dtheta
template <typename T>
void add_angles(const Mamba3CoreBackward& args, const Layout<RealOf<T>>& layout, std::int64_t t,
                RealOf<T>* sums, T* out) {
  using Real = RealOf<T>;
  const std::int64_t angles = args.size.angles;
  std::fill_n(sums, angles, Real{0});
  for (std::int64_t head = 0; head < args.size.heads; ++head) {
    add_scaled(sums, layout.gradient(head).dtheta + t * angles, Real{1}, angles);
  }
  for (std::int64_t m = 0; m < angles; ++m) {
    const Real tanh = layout.theta[t * angles + m] / std::numbers::pi_v<Real>;
    put(out[m], sums[m] * (std::numbers::pi_v<Real> * (1 - tanh * tanh)));
  }
}

// Every token by one thread, the heads in order.
template <typename T>
void add_heads(const Mamba3CoreBackward& args, const Layout<RealOf<T>>& layout,
               std::int64_t out_batch) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t keys = size.ranks * size.groups * size.state;
#pragma omp parallel if (size.elements() > kParallelElements)
  {
    std::vector<Real> sums(static_cast<std::size_t>(std::max(keys, size.angles)));
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < size.seq_len; ++t) {
      const std::int64_t token = out_batch * size.seq_len + t;
      if (args.grad.q.defined()) {
        add_keys<T>(args, layout, &HeadGradient<Real>::dq, t, sums.data(),
                    args.grad.q.data<T>() + token * keys);
      }
      if (args.grad.k.defined()) {
        add_keys<T>(args, layout, &HeadGradient<Real>::dk, t, sums.data(),
                    args.grad.k.data<T>() + token * keys);
      }
      if (args.grad.angle.defined()) {
        add_angles<T>(args, layout, t, sums.data(),
                      args.grad.angle.data<T>() + token * size.angles);
      }
    }
  }
}

template <typename T>
void backward(const Mamba3CoreBackward& args) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t basis = args.dout.dim(0);
  const std::int64_t rates = size.seq_len * size.angles;
  const Layout<Real> layout(args.workspace.data<Real>(), size, basis);
  for (std::int64_t b = 0; b < size.batch; ++b) {
    angle_rates(args.in.angle.data<T>() + b * rates, rates, layout.theta);
    for (std::int64_t p = 0; p < basis; ++p) {
#pragma omp parallel for schedule(static) if (size.elements() > kParallelElements)
      for (std::int64_t head = 0; head < size.heads; ++head) {
        const ThreadScratch<Real> scratch = layout.thread();
        const HeadForward<Real> saved = layout.forward(head);
        if (p == 0) {
          repeat_forward<T>(args, {.in = args.in, .size = size, .batch = b, .head = head},
                            layout.theta, saved, scratch);
        }
        HeadBackward<T>(args, p, b, head, layout.theta, saved, layout.gradient(head), scratch)
            .run();
      }
      add_heads<T>(args, layout, p * size.batch + b);
    }
  }
}

}  // namespace

std::int64_t mamba3_core_backward_workspace(const Mamba3Size& size, std::int64_t basis) {
  return Layout<float>(nullptr, size, basis).elements;
}

void mamba3_core(const Mamba3CoreBackward& args) {
  visit_floating(args.in.v.dtype(), [&]<typename T>() { backward<T>(args); });
}

}  // namespace ghost::cpu
