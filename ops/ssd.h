#pragma once

#include <limits>

#include "engine/autograd/context.h"

namespace ghost {

/// A packed row of the core is [x: H P | B: G N | C: G N]; head h reads group h / (H / G).
struct SsdShape {
  std::int64_t heads = 1;     // H
  std::int64_t head_dim = 1;  // P, channels of a head
  std::int64_t groups = 1;    // G, a divisor of H
  std::int64_t state = 1;     // N, state of a channel

  std::int64_t inner() const { return heads * head_dim; }
  std::int64_t packed_width() const { return inner() + 2 * groups * state; }
  std::int64_t heads_of_group() const { return heads / groups; }
};

struct SsdConfig {
  SsdShape shape;
  bool has_softplus = true;  // of dt + dt_bias
  double dt_min = 0;         // the step is clamped to [dt_min, dt_max]
  double dt_max = std::numeric_limits<double>::infinity();
  std::int64_t chunk = 128;  // tokens that share matrix products; 0: token by token
};

struct SsdWeights {
  Tensor a_log;    // [H], A = -exp(a_log)
  Tensor d;        // [H] or undefined: no skip
  Tensor dt_bias;  // [H] or undefined
};

struct SsdResult {
  Tensor y;            // [B, T, H P]
  Tensor final_state;  // [B, H, P, N]
};

/// The core of Mamba-2, a state-space model with one decay a head and token.
///
///   w[t] = clamp(softplus(dt[t] + dt_bias)),   a[t] = w[t] A
///   h[t] = exp(a[t]) h[t-1] + w[t] x[t] (x) B[t],   y[t] = h[t] C[t] + D x[t]
///
/// Chunks of tokens turn this into matrix products: what a chunk's tokens do to each other, what
/// each chunk leaves in the state, a scan over those states, what the state adds to each chunk. The
/// result does not depend on the length of chunks, nor the residuals: backward runs the scan again.
///
/// xbc            [B, T, H P + 2 G N]  f32, bf16 or f64, packed
/// dt             [B, T, H]  dtype of xbc, before bias and softplus
/// weights        f32, or f64 where xbc is f64, as is the state: decays, steps and states are never
///                bf16
/// initial_state  [B, H, P, N]; undefined: zeros
/// returns        y, dtype of xbc, and the final state; both carry gradients
/// keeps          xbc (attention_qkv), dt and initial_state (statistic), weights
/// throws         ghost::Error when shapes or dtypes do not fit
/// source         Dao and Gu 2024, arXiv:2405.21060, sections 6 and 7
SsdResult ssd(Context& ctx, const Tensor& xbc, const Tensor& dt, const SsdWeights& weights,
              const SsdConfig& config, const Tensor& initial_state = {});

}  // namespace ghost
