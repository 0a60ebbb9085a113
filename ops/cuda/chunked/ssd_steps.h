#pragma once

// What Mamba-2 adds to the steps that both cores share. Its keys are B, its queries C, one of each
// a group, and the step w is the weight of a token for itself as for those after it.

#include "ops/cuda/chunked/steps.h"

namespace ghost::cuda {

/// The step of a token, and its derivative by dt + dt_bias.
struct StepAt {
  float value;
  float slope;
};

/// Softplus and clamp.
struct StepRule {
  bool has_softplus;
  float low;
  float high;

  constexpr StepAt at(float raw) const {
    constexpr float kIsLinear = 20;  // softplus is the identity from here on
    const bool is_soft = has_softplus && raw <= kIsLinear;
    const float step = is_soft ? std::log1p(std::exp(raw)) : raw;
    if (step < low || step > high) {
      return {.value = step < low ? low : high, .slope = 0};
    }
    return {.value = step, .slope = is_soft ? 1 / (1 + std::exp(-raw)) : 1.0F};
  }
};

/// dt and what makes a step and a decay of it. Numbers of heads may be null where the op says so.
template <typename T>
struct SsdSteps {
  const T* dt;           // [E, T, H]
  const float* a_log;    // [H]
  const float* dt_bias;  // [H] or null
  StepRule rule;

  constexpr float rate(std::int64_t head) const { return -std::exp(a_log[head]); }
  constexpr StepAt at(std::int64_t index, std::int64_t head) const {
    const float bias = dt_bias == nullptr ? 0.0F : dt_bias[head];
    return rule.at(static_cast<float>(dt[index]) + bias);
  }
};

/// w and a of every token. Over [E, M, H, L].
template <typename T>
struct SsdTokens {
  SsdSteps<T> steps;
  float* sigma;
  float* log_decays;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const TokenAt token = token_at(n, i);
    const float step = token.is_there ? steps.at(token.scalar(n), token.head).value : 0.0F;
    sigma[i] = step;
    log_decays[i] = token.is_there ? step * steps.rate(token.head) : 0.0F;
  }
};

/// Where B and C of a group lie in rows [x: H P | B: G N | C: G N].
struct SsdRows {
  std::int64_t groups;
  std::int64_t width;

  constexpr std::int64_t in(const ChunkSizes& n, std::int64_t entry, std::int64_t t,
                            std::int64_t group) const {
    return (entry * n.seq_len + t) * width + n.heads * n.head_dim + group * n.state;
  }
  constexpr std::int64_t out(const ChunkSizes& n, std::int64_t entry, std::int64_t t,
                             std::int64_t group) const {
    return in(n, entry, t, groups + group);
  }
};

/// k = B and q = C, once for each head. A token of a head each.
template <typename T>
struct SsdKeys {
  const T* xbc;
  const float* sums;
  T* q;
  T* q_decayed;  // e^s q, or null
  T* k;
  SsdRows rows;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t i, const Lanes& lanes) const {
    const TokenAt token = token_at(n, i);
    const std::int64_t group = token.head / (n.heads / rows.groups);
    const std::int64_t in = token.is_there ? rows.in(n, token.entry, token.t, group) : 0;
    const std::int64_t out = token.is_there ? rows.out(n, token.entry, token.t, group) : 0;
    const float decay = std::exp(sums[i]);
    for (std::int64_t j = lanes.index(); j < n.state; j += Lanes::kCount) {
      const float query = token.is_there ? static_cast<float>(xbc[out + j]) : 0.0F;
      const std::int64_t at = i * n.state + j;
      q[at] = static_cast<T>(query);
      k[at] = token.is_there ? xbc[in + j] : static_cast<T>(0.0F);
      if (q_decayed != nullptr) {
        q_decayed[at] = static_cast<T>(decay * query);
      }
    }
  }
};

/// dB and dC: sums over the heads of a group, in order. Over [E, T, G], a row each.
template <typename T>
struct SsdKeyCotangents {
  const float* dq;
  const float* dk;
  T* dxbc;
  SsdRows rows;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t i, const Lanes& lanes) const {
    const Split by_group = split(i, rows.groups);
    const Split by_token = split(by_group.outer, n.seq_len);
    const std::int64_t heads = n.heads / rows.groups;
    const std::int64_t in = rows.in(n, by_token.outer, by_token.inner, by_group.inner);
    const std::int64_t out = rows.out(n, by_token.outer, by_token.inner, by_group.inner);
    for (std::int64_t j = lanes.index(); j < n.state; j += Lanes::kCount) {
      float of_in = 0;
      float of_out = 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t at =
            token_of(n, by_token.outer, by_token.inner, by_group.inner * heads + h) * n.state + j;
        of_in += dk[at];
        of_out += dq[at];
      }
      dxbc[in + j] = static_cast<T>(of_in);
      dxbc[out + j] = static_cast<T>(of_out);
    }
  }
};

/// ddt = (dw + A da) slope and what A_log = ln(-A), D and dt_bias get of a block, which is a row:
///   dA_log = A sum of w da,   ddt_bias = sum of ddt
template <typename T>
struct SsdScalars {
  SsdSteps<T> steps;
  const float* da;      // [E, M, H, L]
  const float* dsigma;  // [E, M, H, L], of the step as weight for later tokens
  const float* dgamma;  // [E, M, H, L], for the token itself
  const float* dskip;   // [E, M, H, L]
  T* ddt;               // [E, T, H]
  float* da_log_part;   // [blocks], as below; null: not wanted
  float* dskip_part;
  float* ddt_bias_part;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t block, const Lanes& lanes) const {
    float of_log = 0;
    float of_skip = 0;
    float of_bias = 0;
    const float rate = steps.rate(block_at(n, block).head);
    for (std::int64_t l = lanes.index(); l < n.chunk; l += Lanes::kCount) {
      const auto i = static_cast<std::uint32_t>(block * n.chunk + l);
      const TokenAt token = token_at(n, i);
      if (!token.is_there) {
        continue;
      }
      const StepAt step = steps.at(token.scalar(n), token.head);
      const float raw = (dsigma[i] + dgamma[i] + rate * da[i]) * step.slope;
      ddt[token.scalar(n)] = static_cast<T>(raw);
      of_log += step.value * da[i];
      of_skip += dskip[i];
      of_bias += raw;
    }
    if (da_log_part == nullptr) {
      return;
    }
    of_log = lanes.sum(of_log);
    of_skip = lanes.sum(of_skip);
    of_bias = lanes.sum(of_bias);
    if (lanes.index() == 0) {
      da_log_part[block] = rate * of_log;
      dskip_part[block] = of_skip;
      ddt_bias_part[block] = of_bias;
    }
  }
};

/// One token, by the definition: h = e^{w A} h + w x B^T,  y = h C + D x. Over [E, H, P], T = 1.
template <typename T>
struct SsdRecurrence {
  SsdSteps<T> steps;
  const T* xbc;
  const float* skip;     // [H] or null
  const float* initial;  // [E, H, P, N] or null
  T* y;                  // [E, H, P]
  float* final_state;    // [E, H, P, N]
  SsdRows rows;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_channel = split(row, n.head_dim);
    const Split by_head = split(by_channel.outer, n.heads);
    const std::int64_t head = by_head.inner;
    const std::int64_t group = head / (n.heads / rows.groups);
    const T* in = xbc + rows.in(n, by_head.outer, 0, group);
    const T* out = xbc + rows.out(n, by_head.outer, 0, group);
    const auto x =
        static_cast<float>(xbc[by_head.outer * rows.width + head * n.head_dim + by_channel.inner]);
    const float step = steps.at(by_channel.outer, head).value;
    const float decay = std::exp(step * steps.rate(head));
    float sum = 0;
    for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
      const std::int64_t at = row * n.state + i;
      const float before = initial == nullptr ? 0.0F : initial[at];
      const float state = decay * before + step * x * static_cast<float>(in[i]);
      final_state[at] = state;
      sum += state * static_cast<float>(out[i]);
    }
    sum = lanes.sum(sum);
    if (lanes.index() == 0) {
      y[row] = static_cast<T>(sum + (skip == nullptr ? 0.0F : skip[head]) * x);
    }
  }
};

}  // namespace ghost::cuda
