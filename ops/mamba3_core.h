#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Which channels of q and k turn together. Weights trained for one do not fit the other.
enum class RotaryPairing {
  kAdjacent,  // 2m with 2m + 1: SISO
  kHalves,    // m with m + N / 2: MIMO
};

/// What the past leaves for the next token: f32, or f64 where v is f64. None of the four is
/// defined, or all are.
struct Mamba3State {
  Tensor angle;  // [B, H, S] Phi, within [0, 2 pi)
  Tensor ssm;    // [B, H, P, N]
  Tensor k;      // [B, R, H, N] of the last token, biased and rotated
  Tensor v;      // [B, H, P] of the last token, before mimo_x

  bool defined() const { return ssm.defined(); }
};

/// B batch entries, T tokens, R ranks (1: SISO), G groups, H heads, head_dim P, state size N, S
/// angles; head h reads group h / (H / G).
struct Mamba3CoreInput {
  Tensor q;             // [B, T, R, G, N] normed C
  Tensor k;             // [B, T, R, G, N] normed B
  Tensor v;             // [B, T, H, P] the projected x
  Tensor a;             // [B, T, H] logarithm of the decay, <= 0; dtype of the states
  Tensor dt;            // [B, T, H] > 0; dtype of the states
  Tensor trap;          // [B, T, H] lambda = sigmoid(trap)
  Tensor angle;         // [B, T, S] rates before tanh, shared by the heads
  Tensor q_bias;        // [H, R, N] weight; dtype of the states
  Tensor k_bias;        // [H, R, N] weight; dtype of the states
  Tensor d;             // [H] weight; dtype of the states
  Tensor mimo_x;        // [H, R, P] weight, or undefined: all ones
  Mamba3State initial;  // undefined: zeros
};

struct Mamba3CoreOptions {
  std::int64_t chunk = 0;  // tokens; 0: 64 / R. Changes rounding and speed, nothing else
  RotaryPairing pairing = RotaryPairing::kAdjacent;
};

struct Mamba3CoreOutput {
  Tensor o;           // [B, T, R, H, P] before the gate
  Mamba3State state;  // after the last token
};

/// The Mamba-3 core: a state per head under an exponential-trapezoidal rule, its keys and queries
/// turned by angles that the data set. With x_r = v * mimo_x_r:
///
///   Phi_t = Phi_{t-1} + dt_t pi tanh(angle_t),   lambda = sigmoid(trap)
///   k_t = R(Phi_t) (k_t + k_bias),   q_t = R(Phi_t) (q_t + q_bias)
///   h_t = e^{a_t} h_{t-1} + (1 - lambda_t) dt_t e^{a_t} sum over r of x_{t-1,r} k_{t-1,r}^T
///                         + lambda_t dt_t sum over r of x_{t,r} k_{t,r}^T
///   o_{t,r} = h_t q_{t,r} + D x_{t,r}
///
/// Runs in chunks of tokens as matrix products; token t - 1 and before do not depend on token t,
/// bit by bit. What is not said to have another dtype has that of v: f32, bf16 or f64.
/// returns o, dtype of v, and the state after token T - 1, all of which have cotangents
/// keeps   q, k (attention_qkv), v (activation_input), the other inputs (statistic, parameter);
///         backward computes the states again
/// throws  ghost::Error when a shape or dtype does not fit the others
/// source  Lahoti et al. 2026, arXiv:2603.15569
Mamba3CoreOutput mamba3_core(Context& ctx, const Mamba3CoreInput& input,
                             const Mamba3CoreOptions& options = {});

}  // namespace ghost
