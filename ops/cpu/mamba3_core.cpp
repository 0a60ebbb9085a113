#include <algorithm>
#include <omp.h>

#include "ops/cpu/gemm.h"
#include "ops/cpu/mamba3_head.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"

namespace ghost::cpu {
namespace {

/// What one thread needs for one head.
template <typename T>
struct ForwardScratch {
  T* phi;       // [S]
  T* cosines;   // [S]
  T* sines;     // [S]
  T* q;         // [chunk, R, N] biased and rotated
  T* k;         // [chunk, R, N]
  T* x;         // [chunk, R, P]
  T* weighted;  // [chunk, R, P]
  T* o;         // [chunk, R, P] before it is rounded
  T* diagonal;  // [chunk, R, R] q . k within a token
  T* scores;    // [chunk R, chunk R]
  T* row_s;     // [chunk, R] s and sigma, once for each rank
  T* row_sigma;
  Mamba3Coefficients<T> coefficients;

  ForwardScratch(Carver<T>& carver, const Mamba3Size& size)
      : phi(carver.take(size.angles)),
        cosines(carver.take(size.angles)),
        sines(carver.take(size.angles)),
        q(carver.take(size.chunk_rows() * size.state)),
        k(carver.take(size.chunk_rows() * size.state)),
        x(carver.take(size.chunk_rows() * size.head_dim)),
        weighted(carver.take(size.chunk_rows() * size.head_dim)),
        o(carver.take(size.chunk_rows() * size.head_dim)),
        diagonal(carver.take(size.chunk_rows() * size.ranks)),
        scores(carver.take(size.chunk_rows() * size.chunk_rows())),
        row_s(carver.take(size.chunk_rows())),
        row_sigma(carver.take(size.chunk_rows())),
        coefficients(carver, size) {}
};

template <typename T>
std::int64_t thread_workspace(const Mamba3Size& size) {
  Carver<T> carver(nullptr);
  const ForwardScratch<T> scratch(carver, size);
  return carver.used();
}

// The final state but for ssm, given Phi and the last token's k.
template <typename T>
void write_last_token(const Mamba3CoreForward& args, const Mamba3Head<T>& at, const RealOf<T>* phi,
                      const RealOf<T>* k) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  std::copy_n(phi, size.angles, args.state.angle.data<Real>() + at.state_angle());
  for (std::int64_t r = 0; r < size.ranks; ++r) {
    std::copy_n(k + r * size.state, size.state, args.state.k.data<Real>() + at.state_k(r));
  }
  const T* v = args.in.v.data<T>() + at.value(size.seq_len - 1);
  std::transform(v, v + size.head_dim, args.state.v.data<Real>() + at.state_v(), widen<T>);
}

// Reads the tokens [t0, t0 + len) of one head; Phi moves on by as many.
template <typename T>
void load_chunk(const Mamba3CoreForward& args, const Mamba3Head<T>& at, const RealOf<T>* theta,
                const ForwardScratch<RealOf<T>>& scratch, std::int64_t t0, std::int64_t len) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const PairLayout pairs(args.pairing, size.state);
  for (std::int64_t i = 0; i < len; ++i) {
    const std::int64_t t = t0 + i;
    Real* q = scratch.q + i * size.ranks * size.state;
    Real* k = scratch.k + i * size.ranks * size.state;
    biased_rows(at, t, args.in.q, args.in.q_bias, q);
    biased_rows(at, t, args.in.k, args.in.k_bias, k);
    rank_values(at, args.in.v.data<T>() + at.value(t), scratch.x + i * size.ranks * size.head_dim);
    advance_angles(scratch.phi, theta + t * size.angles, args.in.dt.data<Real>()[at.scalar(t)],
                   scratch.cosines, scratch.sines, size.angles);
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      // The same rotation on both sides leaves the product within a token as it was.
      for (std::int64_t other = 0; other < size.ranks; ++other) {
        scratch.diagonal[(i * size.ranks + r) * size.ranks + other] =
            dot(q + r * size.state, k + other * size.state, size.state);
      }
    }
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      rotate(q + r * size.state, scratch.cosines, scratch.sines, size.angles, pairs);
      rotate(k + r * size.state, scratch.cosines, scratch.sines, size.angles, pairs);
      scratch.row_s[i * size.ranks + r] = scratch.coefficients.s[t];
      scratch.row_sigma[i * size.ranks + r] = scratch.coefficients.sigma[t];
    }
  }
}

// scores, q . k, become the weights with which the rows of x enter those of o: for tokens j < i
// exp(s_i - s_j) sigma_j q_i . k_j, for j = i gamma_i q_i . k_i + D, nothing for j > i. With sigma
// on the diagonal o_i would see token i + 1, but for rounding, and would have to take it back.
template <typename T>
void weigh_scores(const ForwardScratch<T>& scratch, const Mamba3Size& size, const T* gamma, T d,
                  std::int64_t len) {
  const std::int64_t rows = len * size.ranks;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t i = row / size.ranks;
    const std::int64_t before = i * size.ranks;
    T* scores = scratch.scores + row * rows;
    const T* s = scratch.row_s;
    const T* sigma = scratch.row_sigma;
    const T own_s = s[row];
#pragma omp simd
    for (std::int64_t j = 0; j < before; ++j) {
      scores[j] *= vector_exp(own_s - s[j]) * sigma[j];
    }
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      scores[before + r] =
          gamma[i] * scratch.diagonal[row * size.ranks + r] + (before + r == row ? d : T{0});
    }
    std::fill(scores + before + size.ranks, scores + rows, T{0});
  }
}

//   o_i = sum over j of weight_ij x_j + e^{s_i} h q_i,   h = e^S h + sum of e^{S - s_j} sigma_j x_j
//   k_j^T
template <typename T>
void forward_chunk(const Mamba3CoreForward& args, const Mamba3Head<T>& at,
                   const ForwardScratch<RealOf<T>>& scratch, std::int64_t t0, std::int64_t len,
                   RealOf<T>* h) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t rows = len * size.ranks;
  const std::int64_t head_dim = size.head_dim;
  const std::int64_t state = size.state;
  T* const out = args.o.data<T>() + at.out(t0);
  const Matrix<Real> o = place_rows(out, at.out_stride(), head_dim, scratch.o);
  gemm({.m = rows, .n = rows, .k = state}, Real{1}, {scratch.q, state},
       {scratch.k, state, Transpose::kYes}, Real{0}, {scratch.scores, rows});
  weigh_scores(scratch, size, scratch.coefficients.gamma + t0, args.in.d.data<Real>()[at.head],
               len);
  gemm({.m = rows, .n = head_dim, .k = rows}, Real{1}, {scratch.scores, rows},
       {scratch.x, head_dim}, Real{0}, o);

  const Real total = scratch.coefficients.s[t0 + len - 1];
  for (std::int64_t row = 0; row < rows; ++row) {
    const Real decay = vector_exp(scratch.row_s[row]);
    Real* q = scratch.q + row * state;
#pragma omp simd
    for (std::int64_t n = 0; n < state; ++n) {
      q[n] *= decay;
    }
    const Real weight = vector_exp(total - scratch.row_s[row]) * scratch.row_sigma[row];
    const Real* x = scratch.x + row * head_dim;
    Real* weighted = scratch.weighted + row * head_dim;
#pragma omp simd
    for (std::int64_t p = 0; p < head_dim; ++p) {
      weighted[p] = weight * x[p];
    }
  }
  gemm({.m = rows, .n = head_dim, .k = state}, Real{1}, {scratch.q, state},
       {h, state, Transpose::kYes}, Real{1}, o);
  gemm({.m = head_dim, .n = state, .k = rows}, Real{1},
       {scratch.weighted, head_dim, Transpose::kYes}, {scratch.k, state}, vector_exp(total),
       {h, state});
  store_rows(o, out, at.out_stride(), rows, head_dim);
}

// The state of the head stays in cache while its chunks pass.
template <typename T>
void chunks_of_head(const Mamba3CoreForward& args, const Mamba3Head<T>& at, const RealOf<T>* theta,
                    const ForwardScratch<RealOf<T>>& scratch) {
  const Mamba3Size& size = args.size;
  RealOf<T>* h = args.state.ssm.data<RealOf<T>>() + at.state_ssm();
  initial_state(at, scratch.coefficients.back[0], scratch.x, h);
  initial_angles(at, scratch.phi);
  std::int64_t len = 0;
  for (std::int64_t t0 = 0; t0 < size.seq_len; t0 += size.chunk) {
    len = std::min(size.chunk, size.seq_len - t0);
    load_chunk(args, at, theta, scratch, t0, len);
    forward_chunk(args, at, scratch, t0, len, h);
  }
  write_last_token(args, at, scratch.phi, scratch.k + (len - 1) * size.ranks * size.state);
}

template <typename T>
void recurrence_head(const Mamba3CoreForward& args, const Mamba3Head<T>& at, const RealOf<T>* theta,
                     const ForwardScratch<RealOf<T>>& scratch) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t state = size.state;
  const PairLayout pairs(args.pairing, state);
  const Mamba3Coefficients<Real>& c = scratch.coefficients;
  Real* h = args.state.ssm.data<Real>() + at.state_ssm();
  initial_state(at, c.back[0], scratch.x, h);  // decayed with h0 by the first token
  initial_angles(at, scratch.phi);
  for (std::int64_t t = 0; t < size.seq_len; ++t) {
    const Real alpha = std::exp(args.in.a.data<Real>()[at.scalar(t)]);
    for (std::int64_t i = 0; i < size.state_numel(); ++i) {
      h[i] *= alpha;
    }
    if (t > 0) {  // x and k are still those of token t - 1
      for (std::int64_t row = 0; row < size.ranks * size.head_dim; ++row) {
        add_scaled(h + row % size.head_dim * state, scratch.k + row / size.head_dim * state,
                   c.back[t] * alpha * scratch.x[row], state);
      }
    }
    biased_rows(at, t, args.in.q, args.in.q_bias, scratch.q);
    biased_rows(at, t, args.in.k, args.in.k_bias, scratch.k);
    rank_values(at, args.in.v.data<T>() + at.value(t), scratch.x);
    advance_angles(scratch.phi, theta + t * size.angles, args.in.dt.data<Real>()[at.scalar(t)],
                   scratch.cosines, scratch.sines, size.angles);
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      rotate(scratch.q + r * state, scratch.cosines, scratch.sines, size.angles, pairs);
      rotate(scratch.k + r * state, scratch.cosines, scratch.sines, size.angles, pairs);
    }
    for (std::int64_t row = 0; row < size.ranks * size.head_dim; ++row) {
      add_scaled(h + row % size.head_dim * state, scratch.k + row / size.head_dim * state,
                 c.gamma[t] * scratch.x[row], state);
    }
    for (std::int64_t r = 0; r < size.ranks; ++r) {
      T* o = args.o.data<T>() + at.out(t) + r * at.out_stride();
      for (std::int64_t p = 0; p < size.head_dim; ++p) {
        put(o[p], dot(h + p * state, scratch.q + r * state, state) +
                      args.in.d.data<Real>()[at.head] * scratch.x[r * size.head_dim + p]);
      }
    }
  }
  write_last_token(args, at, scratch.phi, scratch.k);
}

// Calls `work(args, head, rates of its angles, scratch)`; threads share the heads.
template <typename T, typename Work>
void for_each_head(const Mamba3CoreForward& args, const Work& work) {
  using Real = RealOf<T>;
  const Mamba3Size& size = args.size;
  const std::int64_t rates = size.batch * size.seq_len * size.angles;
  Real* theta = args.workspace.data<Real>();
  angle_rates(args.in.angle.data<T>(), rates, theta);
  const std::int64_t per_thread = thread_workspace<Real>(size);
#pragma omp parallel for collapse(2) schedule(static) if (size.elements() > kParallelElements)
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t head = 0; head < size.heads; ++head) {
      const Mamba3Head<T> at{.in = args.in, .size = size, .batch = b, .head = head};
      Carver<Real> carver(theta + rates + omp_get_thread_num() * per_thread);
      ForwardScratch<Real> scratch(carver, size);
      scratch.coefficients.fill(at);
      work(args, at, theta + b * size.seq_len * size.angles, scratch);
    }
  }
}

}  // namespace

std::int64_t mamba3_core_forward_workspace(const Mamba3Size& size) {
  return size.batch * size.seq_len * size.angles +
         omp_get_max_threads() * thread_workspace<float>(size);
}

void mamba3_core(const Mamba3CoreForward& args) {
  visit_floating(args.in.v.dtype(),
                 [&]<typename T>() { for_each_head<T>(args, chunks_of_head<T>); });
}

void mamba3_core_recurrence(const Mamba3CoreForward& args) {
  visit_floating(args.in.v.dtype(),
                 [&]<typename T>() { for_each_head<T>(args, recurrence_head<T>); });
}

}  // namespace ghost::cpu
