#pragma once

// What the forms of the Mamba-3 core share: where one head lies, its coefficients and rotations.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/tensor/dtype.h"
#include "ops/cpu/vector_math.h"
#include "ops/mamba3_core_kernels.h"

namespace ghost::cpu {

/// Hands out pieces of one allocation; with a null base it only counts them.
template <typename T>
class Carver {
 public:
  explicit Carver(T* base) : base_(base) {}
  T* take(std::int64_t elements) {
    T* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += elements;
    return piece;
  }
  std::int64_t used() const { return used_; }

 private:
  T* base_;
  std::int64_t used_ = 0;
};

/// Where the rows of one head of one batch entry lie in a set of inputs (or of their cotangents,
/// whose batch entries count on over the basis). T is what activations are stored in, RealOf<T>
/// what everything else is and what rows are loaded into.
template <typename T>
struct Mamba3Head {
  const Mamba3CoreInput& in;
  const Mamba3Size& size;
  std::int64_t batch;
  std::int64_t head;

  std::int64_t group() const { return head / (size.heads / size.groups); }
  std::int64_t token(std::int64_t t) const { return batch * size.seq_len + t; }
  /// Row of q and k; rows of consecutive (t, r) are `qk_stride` apart.
  std::int64_t qk(std::int64_t t) const {
    return (token(t) * size.ranks * size.groups + group()) * size.state;
  }
  std::int64_t qk_stride() const { return size.groups * size.state; }
  std::int64_t value(std::int64_t t) const {
    return (token(t) * size.heads + head) * size.head_dim;
  }
  /// Row of o; rows of consecutive (t, r) are `out_stride` apart.
  std::int64_t out(std::int64_t t) const {
    return (token(t) * size.ranks * size.heads + head) * size.head_dim;
  }
  std::int64_t out_stride() const { return size.heads * size.head_dim; }
  std::int64_t scalar(std::int64_t t) const { return token(t) * size.heads + head; }
  std::int64_t bias(std::int64_t rank) const { return (head * size.ranks + rank) * size.state; }
  std::int64_t mimo(std::int64_t rank) const { return (head * size.ranks + rank) * size.head_dim; }
  // In the states.
  std::int64_t state_angle() const { return (batch * size.heads + head) * size.angles; }
  std::int64_t state_ssm() const { return (batch * size.heads + head) * size.state_numel(); }
  std::int64_t state_k(std::int64_t rank) const {
    return ((batch * size.ranks + rank) * size.heads + head) * size.state;
  }
  std::int64_t state_v() const { return (batch * size.heads + head) * size.head_dim; }
};

/// x_r = v * mimo_x_r for all ranks of one token: [R, P].
template <typename T, typename Value>
void rank_values(const Mamba3Head<T>& at, const Value* v, RealOf<T>* x) {
  for (std::int64_t r = 0; r < at.size.ranks; ++r, x += at.size.head_dim) {
    const T* scale =
        at.in.mimo_x.defined() ? at.in.mimo_x.template data<T>() + at.mimo(r) : nullptr;
    if (scale == nullptr) {
      std::transform(v, v + at.size.head_dim, x, widen<Value>);
      continue;
    }
#pragma omp simd
    for (std::int64_t p = 0; p < at.size.head_dim; ++p) {
      x[p] = widen(v[p]) * widen(scale[p]);
    }
  }
}

/// The numbers of each token of one head.
template <typename T>
struct Mamba3Coefficients {
  T* s;       // [T] a summed from the start of the token's chunk on, inclusive
  T* lambda;  // [T]
  T* gamma;   // [T] lambda dt: weight of the token's own input
  T* back;    // [T] (1 - lambda) dt: weight, before decay, of the input before
  T* sigma;   // [T] gamma_t + back_{t+1}: weight of the token for those after it

  Mamba3Coefficients(Carver<T>& carver, const Mamba3Size& size)
      : s(carver.take(size.seq_len)),
        lambda(carver.take(size.seq_len)),
        gamma(carver.take(size.seq_len)),
        back(carver.take(size.seq_len)),
        sigma(carver.take(size.seq_len)) {}

  template <typename Stored>
  void fill(const Mamba3Head<Stored>& at) {
    const std::int64_t seq_len = at.size.seq_len;
    for (std::int64_t t = 0; t < seq_len; ++t) {
      const T dt = at.in.dt.template data<T>()[at.scalar(t)];
      const T log_decay = at.in.a.template data<T>()[at.scalar(t)];
      lambda[t] = vector_sigmoid(widen(at.in.trap.template data<Stored>()[at.scalar(t)]));
      gamma[t] = lambda[t] * dt;
      back[t] = (1 - lambda[t]) * dt;
      s[t] = t % at.size.chunk == 0 ? log_decay : s[t - 1] + log_decay;
    }
    for (std::int64_t t = 0; t < seq_len; ++t) {
      sigma[t] = gamma[t] + (t + 1 < seq_len ? back[t + 1] : T{0});
    }
  }
};

/// theta = pi tanh(angle) of the tokens of one batch entry: [T, S].
template <typename T>
void angle_rates(const T* angle, std::int64_t count, RealOf<T>* theta) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    theta[i] = std::numbers::pi_v<RealOf<T>> * vector_tanh(widen(angle[i]));
  }
}

/// Phi moves on by one token and stays within one turn, as f32 loses digits of large angles.
template <typename T>
void advance_angles(T* phi, const T* theta, T dt, T* cosines, T* sines, std::int64_t angles) {
  constexpr T kTurn = 2 * std::numbers::pi_v<T>;
#pragma omp simd
  for (std::int64_t m = 0; m < angles; ++m) {
    const T sum = phi[m] + dt * theta[m];
    phi[m] = sum - kTurn * std::floor(sum / kTurn);
    const SineCosine<T> both = vector_sine_cosine(phi[m]);
    cosines[m] = both.cosine;
    sines[m] = both.sine;
  }
}

/// Where the two channels of a pair lie.
struct PairLayout {
  std::int64_t step;   // from the first channel of one pair to that of the next
  std::int64_t apart;  // from the first to the second of a pair

  PairLayout(RotaryPairing pairing, std::int64_t state)
      : step(pairing == RotaryPairing::kAdjacent ? 2 : 1),
        apart(pairing == RotaryPairing::kAdjacent ? 1 : state / 2) {}
};

/// (u0, u1) -> (u0 cos - u1 sin, u0 sin + u1 cos) for every pair.
template <typename T>
void rotate(T* u, const T* cosines, const T* sines, std::int64_t angles, const PairLayout& pairs) {
  const auto turn = [=](std::int64_t step, std::int64_t apart) {
#pragma omp simd
    for (std::int64_t m = 0; m < angles; ++m) {
      const T u0 = u[step * m];
      const T u1 = u[step * m + apart];
      u[step * m] = u0 * cosines[m] - u1 * sines[m];
      u[step * m + apart] = u0 * sines[m] + u1 * cosines[m];
    }
  };
  if (pairs.step == 2) {
    turn(2, 1);
  } else {
    turn(1, pairs.apart);
  }
}

/// The same turned back, for the cotangent du of a rotated row u; adds that of the angles to dphi:
///   dphi += du_1 u_0 - du_0 u_1,   du = R(-phi) du
template <typename T>
void rotate_back(T* du, const T* u, const T* cosines, const T* sines, T* dphi, std::int64_t angles,
                 const PairLayout& pairs) {
  const auto turn = [=](std::int64_t step, std::int64_t apart) {
#pragma omp simd
    for (std::int64_t m = 0; m < angles; ++m) {
      const T du0 = du[step * m];
      const T du1 = du[step * m + apart];
      dphi[m] += du1 * u[step * m] - du0 * u[step * m + apart];
      du[step * m] = du0 * cosines[m] + du1 * sines[m];
      du[step * m + apart] = du1 * cosines[m] - du0 * sines[m];
    }
  };
  if (pairs.step == 2) {
    turn(2, 1);
  } else {
    turn(1, pairs.apart);
  }
}

template <typename T>
T dot(const T* a, const T* b, std::int64_t count) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

/// y += scale * x.
template <typename T>
void add_scaled(T* y, const T* x, T scale, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] += scale * x[i];
  }
}

/// y += a * b, element by element.
template <typename Real, typename T>
void add_product(Real* y, const T* a, const Real* b, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] += widen(a[i]) * b[i];
  }
}

/// q and k of one token with biases, [R, N] each, not rotated.
template <typename T>
void biased_rows(const Mamba3Head<T>& at, std::int64_t t, const Tensor& rows, const Tensor& bias,
                 RealOf<T>* out) {
  const std::int64_t state = at.size.state;
  for (std::int64_t r = 0; r < at.size.ranks; ++r) {
    const T* row = rows.data<T>() + at.qk(t) + r * at.qk_stride();
    const RealOf<T>* add = bias.data<RealOf<T>>() + at.bias(r);
#pragma omp simd
    for (std::int64_t n = 0; n < state; ++n) {
      out[r * state + n] = widen(row[n]) + add[n];
    }
  }
}

/// The state before the first token: h0 + back_0 sum over r of x0_r k0_r^T, or zeros.
template <typename T>
void initial_state(const Mamba3Head<T>& at, RealOf<T> back, RealOf<T>* x, RealOf<T>* h) {
  using Real = RealOf<T>;
  const Mamba3Size& size = at.size;
  const Mamba3State& initial = at.in.initial;
  if (!initial.defined()) {
    std::fill_n(h, size.state_numel(), Real{0});
    return;
  }
  std::copy_n(initial.ssm.template data<Real>() + at.state_ssm(), size.state_numel(), h);
  rank_values(at, initial.v.template data<Real>() + at.state_v(), x);
  for (std::int64_t r = 0; r < size.ranks; ++r) {
    for (std::int64_t p = 0; p < size.head_dim; ++p) {
      add_scaled(h + p * size.state, initial.k.template data<Real>() + at.state_k(r),
                 back * x[r * size.head_dim + p], size.state);
    }
  }
}

/// Phi before the first token.
template <typename T>
void initial_angles(const Mamba3Head<T>& at, RealOf<T>* phi) {
  if (at.in.initial.defined()) {
    std::copy_n(at.in.initial.angle.template data<RealOf<T>>() + at.state_angle(), at.size.angles,
                phi);
  } else {
    std::fill_n(phi, at.size.angles, RealOf<T>{0});
  }
}

}  // namespace ghost::cpu
