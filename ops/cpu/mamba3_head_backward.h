#pragma once

// The backward pass of one head of the Mamba-3 core.

#include <algorithm>

#include "ops/cpu/gemm.h"
#include "ops/cpu/mamba3_head.h"
#include "ops/cpu/stored_rows.h"

namespace ghost::cpu {

/// What forward knew of one head of one batch entry and did not keep; the same for all cotangents.
template <typename T>
struct HeadForward {
  T* q;        // [T, R, N] biased and rotated
  T* k;        // [T, R, N]
  T* cosines;  // [T, S]
  T* sines;    // [T, S]
  T* states;   // [chunks, P, N] at the start of each
  Mamba3Coefficients<T> c;

  HeadForward(Carver<T>& carver, const Mamba3Size& size)
      : q(carver.take(size.seq_len * size.ranks * size.state)),
        k(carver.take(size.seq_len * size.ranks * size.state)),
        cosines(carver.take(size.seq_len * size.angles)),
        sines(carver.take(size.seq_len * size.angles)),
        states(carver.take(size.num_chunks() * size.state_numel())),
        c(carver, size) {}
};

/// What one head has found of the cotangents that several heads share.
template <typename T>
struct HeadGradient {
  T* dq;      // [T, R, N] to be added over the heads of a group
  T* dk;      // [T, R, N]
  T* dtheta;  // [T, S] to be added over all heads

  HeadGradient(Carver<T>& carver, const Mamba3Size& size)
      : dq(carver.take(size.seq_len * size.ranks * size.state)),
        dk(carver.take(size.seq_len * size.ranks * size.state)),
        dtheta(carver.take(size.seq_len * size.angles)) {}
};

template <typename T>
struct ThreadScratch {
  T* scores;      // [chunk R, chunk R]
  T* dscores;     // [chunk R, chunk R]
  T* x;           // [chunk, R, P]
  T* dx;          // [chunk, R, P]
  T* weighted;    // [chunk, R, P]
  T* decayed;     // [chunk, R, P]
  T* dout;        // [chunk, R, P] where it has to be widened
  T* dv;          // [P]
  T* q_bare;      // [R, N] biased, not rotated
  T* k_bare;      // [R, N]
  T* ddiagonal;   // [chunk, R, R]
  T* dh;          // [P, N] cotangent of the state after the chunk
  T* dphi;        // [S] cotangent of Phi, summed over the tokens behind
  T* row_s;       // [chunk, R]
  T* row_sigma;   // [chunk, R]
  T* row_dsigma;  // [chunk, R]
  T* crossing;    // [chunk, R] by row j: sum of kappa_ij over the rows i done
  T* from_start;  // [chunk] rho
  T* to_end;      // [chunk] epsilon, summed over earlier tokens
  T* dgamma;      // [T]
  T* dsigma;      // [T]
  T* ddt;         // [T] by way of the angles

  ThreadScratch(Carver<T>& carver, const Mamba3Size& size)
      : scores(carver.take(size.chunk_rows() * size.chunk_rows())),
        dscores(carver.take(size.chunk_rows() * size.chunk_rows())),
        x(carver.take(size.chunk_rows() * size.head_dim)),
        dx(carver.take(size.chunk_rows() * size.head_dim)),
        weighted(carver.take(size.chunk_rows() * size.head_dim)),
        decayed(carver.take(size.chunk_rows() * size.head_dim)),
        dout(carver.take(size.chunk_rows() * size.head_dim)),
        dv(carver.take(size.head_dim)),
        q_bare(carver.take(size.ranks * size.state)),
        k_bare(carver.take(size.ranks * size.state)),
        ddiagonal(carver.take(size.chunk_rows() * size.ranks)),
        dh(carver.take(size.state_numel())),
        dphi(carver.take(size.angles)),
        row_s(carver.take(size.chunk_rows())),
        row_sigma(carver.take(size.chunk_rows())),
        row_dsigma(carver.take(size.chunk_rows())),
        crossing(carver.take(size.chunk_rows())),
        from_start(carver.take(size.chunk)),
        to_end(carver.take(size.chunk)),
        dgamma(carver.take(size.seq_len)),
        dsigma(carver.take(size.seq_len)),
        ddt(carver.take(size.seq_len)) {}
};

/// The backward pass of one head for one cotangent, chunk by chunk from the last to the first.
template <typename T>
class HeadBackward {
  using Real = RealOf<T>;

 public:
  HeadBackward(const Mamba3CoreBackward& args, std::int64_t p, std::int64_t batch,
               std::int64_t head, const Real* theta, const HeadForward<Real>& saved,
               const HeadGradient<Real>& found, const ThreadScratch<Real>& scratch)
      : args_(args),
        size_(args.size),
        in_{.in = args.in, .size = args.size, .batch = batch, .head = head},
        out_{.in = args.in, .size = args.size, .batch = p * args.size.batch + batch, .head = head},
        theta_(theta),
        saved_(saved),
        found_(found),
        scratch_(scratch),
        pairs_(args.pairing, args.size.state) {}

  void run() {
    std::copy_n(args_.dstate.ssm.data<Real>() + out_.state_ssm(), size_.state_numel(), scratch_.dh);
    std::copy_n(args_.dstate.angle.data<Real>() + out_.state_angle(), size_.angles, scratch_.dphi);
    for (std::int64_t chunk = size_.num_chunks() - 1; chunk >= 0; --chunk) {
      const std::int64_t t0 = chunk * size_.chunk;
      const std::int64_t len = std::min(size_.chunk, size_.seq_len - t0);
      dout_ = dout_of(t0, len);
      through_states(t0, len, saved_.states + chunk * size_.state_numel());
      within_chunk(t0, len);
      carry_state(t0, len);
      through_tokens(t0, len);
    }
    const Real dback = to_initial_state();
    to_scalars(dback);
  }

 private:
  Real* x_row(std::int64_t row) const { return scratch_.x + row * size_.head_dim; }

  // Rows of dout that belong to a chunk.
  Matrix<const Real> dout_of(std::int64_t t0, std::int64_t len) const {
    return load_rows(args_.dout.data<T>() + out_.out(t0), out_.out_stride(), len * size_.ranks,
                     size_.head_dim, scratch_.dout);
  }

  // o_i += e^{s_i} h q_i and h' = e^S h + sum of e^{S - s_j} sigma_j x_j k_j^T. Leaves
  //   dq_i = e^{s_i} h^T do_i,              rho_i = dq_i . q_i
  //   dx_j = e^{S - s_j} sigma_j dh' k_j,   dk_j = e^{S - s_j} sigma_j dh'^T x_j,
  //   dsigma_j,   epsilon_j = sigma_j dsigma_j,   and in da the share of the whole chunk's decay.
  void through_states(std::int64_t t0, std::int64_t len, const Real* h) {
    const std::int64_t rows = len * size_.ranks;
    const std::int64_t head_dim = size_.head_dim;
    const std::int64_t state = size_.state;
    const Real total = saved_.c.s[t0 + len - 1];
    for (std::int64_t i = 0; i < len; ++i) {
      rank_values(in_, args_.in.v.data<T>() + in_.value(t0 + i), x_row(i * size_.ranks));
      for (std::int64_t r = 0; r < size_.ranks; ++r) {
        scratch_.row_s[i * size_.ranks + r] = saved_.c.s[t0 + i];
        scratch_.row_sigma[i * size_.ranks + r] = saved_.c.sigma[t0 + i];
      }
    }
    const Real* k = saved_.k + t0 * size_.ranks * state;
    Real* dq = found_.dq + t0 * size_.ranks * state;
    Real* dk = found_.dk + t0 * size_.ranks * state;
    gemm({.m = rows, .n = head_dim, .k = state}, Real{1}, {k, state},
         {scratch_.dh, state, Transpose::kYes}, Real{0}, {scratch_.dx, head_dim});
    for (std::int64_t row = 0; row < rows; ++row) {
      const Real to_end = vector_exp(total - scratch_.row_s[row]);
      const Real weight = to_end * scratch_.row_sigma[row];
      const Real from_start = vector_exp(scratch_.row_s[row]);
      const Real* x = x_row(row);
      const Real* go = dout_.data + row * dout_.stride;
      Real* dx = scratch_.dx + row * head_dim;
      Real* weighted = scratch_.weighted + row * head_dim;
      Real* decayed = scratch_.decayed + row * head_dim;
      scratch_.row_dsigma[row] = to_end * dot(x, dx, head_dim);
#pragma omp simd
      for (std::int64_t p = 0; p < head_dim; ++p) {
        dx[p] *= weight;
        weighted[p] = weight * x[p];
        decayed[p] = from_start * go[p];
      }
    }
    gemm({.m = rows, .n = state, .k = head_dim}, Real{1}, {scratch_.weighted, head_dim},
         {scratch_.dh, state}, Real{0}, {dk, state});
    gemm({.m = rows, .n = state, .k = head_dim}, Real{1}, {scratch_.decayed, head_dim}, {h, state},
         Real{0}, {dq, state});
    whole_decay_ = vector_exp(total) * dot(scratch_.dh, h, size_.state_numel());
    Real sum = 0;
    for (std::int64_t i = 0; i < len; ++i) {
      scratch_.to_end[i] = sum;
      const std::int64_t row = i * size_.ranks;
      scratch_.from_start[i] =
          dot(dq + row * state, saved_.q + (t0 * size_.ranks + row) * state, size_.ranks * state);
      for (std::int64_t r = 0; r < size_.ranks; ++r) {
        sum += scratch_.row_dsigma[row + r] * scratch_.row_sigma[row + r];
      }
    }
  }

  // With A_ij = exp(s_i - s_j) q_i . k_j for tokens j < i and dM = do x^T:
  //   dx = M^T do,   d(q k^T) = dM sigma exp(s_i - s_j),   dsigma_j += sum over i of dM_ij A_ij
  //   kappa_ij = dM_ij sigma_j A_ij,   da_k += sum over i >= k, j < k of kappa_ij
  // The last as sums of what it names: differences of row and column sums cancel.
  void within_chunk(std::int64_t t0, std::int64_t len) {
    const std::int64_t rows = len * size_.ranks;
    const std::int64_t head_dim = size_.head_dim;
    const std::int64_t state = size_.state;
    const Real* q = saved_.q + t0 * size_.ranks * state;
    const Real* k = saved_.k + t0 * size_.ranks * state;
    gemm({.m = rows, .n = rows, .k = state}, Real{1}, {q, state}, {k, state, Transpose::kYes},
         Real{0}, {scratch_.scores, rows});
    gemm({.m = rows, .n = rows, .k = head_dim}, Real{1}, dout_,
         {scratch_.x, head_dim, Transpose::kYes}, Real{0}, {scratch_.dscores, rows});
    std::fill_n(scratch_.crossing, rows, Real{0});
    Real from_start = 0;
    for (std::int64_t i = len - 1; i >= 0; --i) {
      const std::int64_t before = i * size_.ranks;
      scratch_.dgamma[t0 + i] = 0;
      for (std::int64_t r = 0; r < size_.ranks; ++r) {
        weigh_row(t0, i, r, rows);
      }
      from_start += scratch_.from_start[i];
      const Real* by_row = scratch_.crossing;
      Real crossing = 0;
#pragma omp simd reduction(+ : crossing)
      for (std::int64_t j = 0; j < before; ++j) {
        crossing += by_row[j];
      }
      if (args_.grad.a.defined()) {
        args_.grad.a.data<Real>()[out_.scalar(t0 + i)] =
            from_start + scratch_.to_end[i] + whole_decay_ + crossing;
      }
    }
    for (std::int64_t i = 0; i < len; ++i) {
      Real sum = 0;
      for (std::int64_t r = 0; r < size_.ranks; ++r) {
        sum += scratch_.row_dsigma[i * size_.ranks + r];
      }
      scratch_.dsigma[t0 + i] = sum;
    }
    gemm({.m = rows, .n = head_dim, .k = rows}, Real{1}, {scratch_.scores, rows, Transpose::kYes},
         dout_, Real{1}, {scratch_.dx, head_dim});
    gemm({.m = rows, .n = state, .k = rows}, Real{1}, {scratch_.dscores, rows}, {k, state}, Real{1},
         {found_.dq + t0 * size_.ranks * state, state});
    gemm({.m = rows, .n = state, .k = rows}, Real{1}, {scratch_.dscores, rows, Transpose::kYes},
         {q, state}, Real{1}, {found_.dk + t0 * size_.ranks * state, state});
  }

  // The row of scores and of their cotangent that belongs to rank r of token i of the chunk.
  void weigh_row(std::int64_t t0, std::int64_t i, std::int64_t r, std::int64_t rows) {
    const std::int64_t before = i * size_.ranks;
    const std::int64_t row = before + r;
    Real* scores = scratch_.scores + row * rows;
    Real* dscores = scratch_.dscores + row * rows;
    const Real* s = scratch_.row_s;
    const Real* sigma = scratch_.row_sigma;
    Real* dsigma = scratch_.row_dsigma;
    Real* crossing = scratch_.crossing;
    const Real own_s = s[row];
#pragma omp simd
    for (std::int64_t j = 0; j < before; ++j) {
      const Real decay = vector_exp(own_s - s[j]);
      const Real along_sigma = dscores[j] * scores[j] * decay;
      dsigma[j] += along_sigma;
      crossing[j] += along_sigma * sigma[j];
      scores[j] *= decay * sigma[j];
      dscores[j] *= decay * sigma[j];
    }
    // The token itself: gamma q . k + D.
    const Real gamma = saved_.c.gamma[t0 + i];
    for (std::int64_t other = 0; other < size_.ranks; ++other) {
      const std::int64_t j = before + other;
      scratch_.dgamma[t0 + i] += dscores[j] * scores[j];
      scratch_.ddiagonal[row * size_.ranks + other] = gamma * dscores[j];
      scores[j] *= gamma;
      if (other == r) {
        scores[j] += args_.in.d.data<Real>()[in_.head];
        dd_ += dscores[j];
      }
    }
    std::fill(scores + before + size_.ranks, scores + rows, Real{0});
    std::fill(dscores + before, dscores + rows, Real{0});
  }

  //   dh = e^S dh' + sum of e^{s_i} do_i q_i^T
  void carry_state(std::int64_t t0, std::int64_t len) {
    gemm({.m = size_.head_dim, .n = size_.state, .k = len * size_.ranks}, Real{1},
         {scratch_.decayed, size_.head_dim, Transpose::kYes},
         {saved_.q + t0 * size_.ranks * size_.state, size_.state},
         vector_exp(saved_.c.s[t0 + len - 1]), {scratch_.dh, size_.state});
  }

  // Out of the rotation and the biases, token by token from the last: dphi sums up on the way.
  void through_tokens(std::int64_t t0, std::int64_t len) {
    for (std::int64_t i = len - 1; i >= 0; --i) {
      const std::int64_t t = t0 + i;
      Real* dq = found_.dq + t * size_.ranks * size_.state;
      Real* dk = found_.dk + t * size_.ranks * size_.state;
      for (std::int64_t r = 0; r < size_.ranks; ++r) {
        if (t == size_.seq_len - 1) {
          add_scaled(dk + r * size_.state, args_.dstate.k.data<Real>() + out_.state_k(r), Real{1},
                     size_.state);
        }
        turn_back(dq + r * size_.state, saved_.q + (t * size_.ranks + r) * size_.state, t);
        turn_back(dk + r * size_.state, saved_.k + (t * size_.ranks + r) * size_.state, t);
      }
      const Real dt = args_.in.dt.data<Real>()[in_.scalar(t)];
      const Real* theta = theta_ + t * size_.angles;
      scratch_.ddt[t] = dot(theta, scratch_.dphi, size_.angles);
      for (std::int64_t m = 0; m < size_.angles; ++m) {
        found_.dtheta[t * size_.angles + m] = dt * scratch_.dphi[m];
      }
      through_diagonal(t, scratch_.ddiagonal + i * size_.ranks * size_.ranks, dq, dk);
      give_biases(dq, dk);
      give_value(t, scratch_.dx + i * size_.ranks * size_.head_dim);
    }
  }

  void turn_back(Real* dv, const Real* v, std::int64_t t) {
    rotate_back(dv, v, saved_.cosines + t * size_.angles, saved_.sines + t * size_.angles,
                scratch_.dphi, size_.angles, pairs_);
  }

  // q . k within a token, which no rotation changes: what it gives to q and k passes by the angles.
  void through_diagonal(std::int64_t t, const Real* ddiagonal, Real* dq, Real* dk) {
    const std::int64_t state = size_.state;
    biased_rows(in_, t, args_.in.q, args_.in.q_bias, scratch_.q_bare);
    biased_rows(in_, t, args_.in.k, args_.in.k_bias, scratch_.k_bare);
    for (std::int64_t r = 0; r < size_.ranks; ++r) {
      for (std::int64_t other = 0; other < size_.ranks; ++other) {
        const Real weight = ddiagonal[r * size_.ranks + other];
        add_scaled(dq + r * state, scratch_.k_bare + other * state, weight, state);
        add_scaled(dk + other * state, scratch_.q_bare + r * state, weight, state);
      }
    }
  }

  void give_biases(const Real* dq, const Real* dk) {
    const std::int64_t count = size_.ranks * size_.state;
    if (args_.grad.q_bias.defined()) {
      add_scaled(args_.grad.q_bias.data<Real>() + in_.bias(0), dq, Real{1}, count);
    }
    if (args_.grad.k_bias.defined()) {
      add_scaled(args_.grad.k_bias.data<Real>() + in_.bias(0), dk, Real{1}, count);
    }
  }

  // dv = sum over r of mimo_x_r dx_r,   dmimo_x_r += v dx_r
  template <typename Value>
  void give_ranks(const Value* v, const Real* dx, Real* dv) {
    for (std::int64_t r = 0; r < size_.ranks; ++r, dx += size_.head_dim) {
      if (args_.grad.mimo_x.defined()) {
        add_product(args_.grad.mimo_x.data<Real>() + in_.mimo(r), v, dx, size_.head_dim);
      }
      if (dv != nullptr && args_.in.mimo_x.defined()) {
        add_product(dv, args_.in.mimo_x.data<T>() + in_.mimo(r), dx, size_.head_dim);
      } else if (dv != nullptr) {
        add_scaled(dv, dx, Real{1}, size_.head_dim);
      }
    }
  }

  void give_value(std::int64_t t, const Real* dx) {
    Real* dv = args_.grad.v.defined() ? scratch_.dv : nullptr;
    if (dv != nullptr && t == size_.seq_len - 1) {
      std::copy_n(args_.dstate.v.data<Real>() + out_.state_v(), size_.head_dim, dv);
    } else if (dv != nullptr) {
      std::fill_n(dv, size_.head_dim, Real{0});
    }
    give_ranks(args_.in.v.data<T>() + in_.value(t), dx, dv);
    if (dv != nullptr) {
      put_row(dv, args_.grad.v.data<T>() + out_.value(t), size_.head_dim);
    }
  }

  // The first chunk starts from h0 + back_0 sum over r of x0_r k0_r^T. Returns the cotangent of
  // back_0.
  Real to_initial_state() {
    const Mamba3State& initial = args_.in.initial;
    const Mamba3State& grad = args_.grad.initial;
    if (!initial.defined()) {
      return 0;
    }
    const std::int64_t state = size_.state;
    const Real back = saved_.c.back[0];
    const Real* v = initial.v.data<Real>() + in_.state_v();
    rank_values(in_, v, scratch_.x);
    Real dback = 0;
    for (std::int64_t r = 0; r < size_.ranks; ++r) {
      const Real* k = initial.k.data<Real>() + in_.state_k(r);
      Real* dk = grad.k.defined() ? grad.k.data<Real>() + out_.state_k(r) : nullptr;
      if (dk != nullptr) {
        std::fill_n(dk, state, Real{0});
      }
      for (std::int64_t p = 0; p < size_.head_dim; ++p) {
        const std::int64_t row = r * size_.head_dim + p;
        const Real* dh = scratch_.dh + p * state;
        const Real dx = dot(dh, k, state);
        dback += scratch_.x[row] * dx;
        scratch_.dx[row] = back * dx;
        if (dk != nullptr) {
          add_scaled(dk, dh, back * scratch_.x[row], state);
        }
      }
    }
    Real* dv = grad.v.defined() ? grad.v.data<Real>() + out_.state_v() : nullptr;
    if (dv != nullptr) {
      std::fill_n(dv, size_.head_dim, Real{0});
    }
    give_ranks(v, scratch_.dx, dv);
    if (grad.ssm.defined()) {
      std::copy_n(scratch_.dh, size_.state_numel(), grad.ssm.data<Real>() + out_.state_ssm());
    }
    if (grad.angle.defined()) {
      std::copy_n(scratch_.dphi, size_.angles, grad.angle.data<Real>() + out_.state_angle());
    }
    return dback;
  }

  // gamma = lambda dt, back = (1 - lambda) dt, sigma_t = gamma_t + back_{t+1}; the fourth source of
  // ddt, besides these two and the angles, is a and lies outside of this op.
  void to_scalars(Real dback) {
    for (std::int64_t t = 0; t < size_.seq_len; ++t) {
      const Real dgamma = scratch_.dgamma[t] + scratch_.dsigma[t];
      const Real lambda = saved_.c.lambda[t];
      const Real dt = args_.in.dt.data<Real>()[in_.scalar(t)];
      if (args_.grad.trap.defined()) {
        put(args_.grad.trap.data<T>()[out_.scalar(t)],
            dt * (dgamma - dback) * lambda * (1 - lambda));
      }
      if (args_.grad.dt.defined()) {
        args_.grad.dt.data<Real>()[out_.scalar(t)] =
            scratch_.ddt[t] + lambda * dgamma + (1 - lambda) * dback;
      }
      dback = scratch_.dsigma[t];
    }
    if (args_.grad.d.defined()) {
      args_.grad.d.data<Real>()[in_.head] += dd_;
    }
  }

  const Mamba3CoreBackward& args_;
  const Mamba3Size& size_;
  Mamba3Head<T> in_;   // among the inputs
  Mamba3Head<T> out_;  // among the cotangents
  const Real* theta_;  // [T, S]
  HeadForward<Real> saved_;
  HeadGradient<Real> found_;
  ThreadScratch<Real> scratch_;
  PairLayout pairs_;
  Matrix<const Real> dout_{};  // of the chunk
  Real whole_decay_ = 0;       // cotangent of the chunk's S by the state that crosses it
  Real dd_ = 0;
};

}  // namespace ghost::cpu
