#pragma once

// What Mamba-3 adds to the steps that both cores share, forward. Its keys and queries are turned by
// angles, so that each head has its own; a token weighs sigma for those after it, gamma for itself.

#include <numbers>

#include "ops/cuda/chunked/steps.h"

namespace ghost::cuda {

/// Which channels of N turn together: the first `angles` of the pairs.
struct TurningPairs {
  bool is_adjacent;  // 2m with 2m + 1, else m with m + N / 2
  std::int64_t state;
  std::int64_t angles;

  constexpr std::int64_t first(std::int64_t m) const { return is_adjacent ? 2 * m : m; }
  constexpr std::int64_t second(std::int64_t m) const {
    return is_adjacent ? 2 * m + 1 : m + state / 2;
  }
  constexpr bool is_second(std::int64_t channel) const {
    return is_adjacent ? channel % 2 == 1 : channel >= state / 2;
  }
  /// The angle that turns a channel, -1 for none.
  constexpr std::int64_t angle_of(std::int64_t channel) const {
    const std::int64_t half = state / 2;
    const std::int64_t m = is_adjacent ? channel / 2 : (channel < half ? channel : channel - half);
    return m < angles ? m : -1;
  }
};

/// The inputs from one batch entry on, S angles a token; mimo_x and the initial state may be null.
template <typename T>
struct Mamba3Arrays {
  const T* q;  // [E, T, R, G, N], as k
  const T* k;
  const T* v;      // [E, T, H, P]
  const float* a;  // [E, T, H], as dt and trap
  const float* dt;
  const T* trap;
  const T* angle;       // [E, T, S]
  const float* q_bias;  // [H, R, N], as k_bias
  const float* k_bias;
  const T* mimo_x;             // [H, R, P]
  const float* initial_angle;  // [E, H, S]
  const float* initial_ssm;    // [E, H, P, N]
  const float* initial_k;      // [E, R, H, N]
  const float* initial_v;      // [E, H, P]
  std::int64_t groups;
  TurningPairs pairs;

  constexpr std::int64_t angles() const { return pairs.angles; }
  /// lambda = sigmoid(trap).
  constexpr float lambda(std::int64_t scalar) const {
    return 1 / (1 + std::exp(-static_cast<float>(trap[scalar])));
  }
  /// Weight, before its decay, that a token gives to the input before it.
  constexpr float back(std::int64_t scalar) const { return (1 - lambda(scalar)) * dt[scalar]; }
  constexpr float theta(std::int64_t index) const {
    return std::numbers::pi_v<float> * std::tanh(static_cast<float>(angle[index]));
  }
  constexpr float mimo(std::int64_t head, std::int64_t rank, std::int64_t p,
                       const ChunkSizes& n) const {
    return mimo_x == nullptr ? 1.0F
                             : static_cast<float>(mimo_x[(head * n.ranks + rank) * n.head_dim + p]);
  }
  /// x of the initial state, for number `head` of [E, H].
  constexpr float initial_x(std::int64_t entry_head, std::int64_t rank, std::int64_t p,
                            const ChunkSizes& n) const {
    return initial_v[entry_head * n.head_dim + p] * mimo(entry_head % n.heads, rank, p, n);
  }
};

/// Where row (entry, rank, head) of [E, R, H, N] begins; the states of k lie so.
constexpr std::int64_t state_key_at(const ChunkSizes& n, std::int64_t entry, std::int64_t rank,
                                    std::int64_t head) {
  return ((entry * n.ranks + rank) * n.heads + head) * n.state;
}

/// Within one turn, as f32 loses digits of large angles.
constexpr float within_turn(float phi) {
  constexpr float kTurn = 2 * std::numbers::pi_v<float>;
  return phi - kTurn * std::floor(phi / kTurn);
}

/// Weights and log-decays of every token. Over [E, M, H, L].
template <typename T>
struct Mamba3Tokens {
  Mamba3Arrays<T> in;
  float* sigma;
  float* gamma;
  float* log_decays;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const TokenAt token = token_at(n, i);
    if (!token.is_there) {
      sigma[i] = 0;
      gamma[i] = 0;
      log_decays[i] = 0;
      return;
    }
    const std::int64_t at = token.scalar(n);
    const float own = in.lambda(at) * in.dt[at];
    gamma[i] = own;
    sigma[i] = own + (token.t + 1 < n.seq_len ? in.back(at + n.heads) : 0.0F);
    log_decays[i] = in.a[at];
  }
};

/// Angles within each chunk, from 0 at its start: a token's own increment is in. Over
/// [E, M, H, S], each along its chunk.
template <typename T>
struct WalkAngles {
  Mamba3Arrays<T> in;
  float* phi;  // [E, M, H, L, S]
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_angle = split(i, in.angles());
    float angle = 0;
    for (std::int64_t l = 0; l < n.chunk; ++l) {
      const std::int64_t index = by_angle.outer * n.chunk + l;
      const TokenAt token = token_at(n, static_cast<std::uint32_t>(index));
      if (token.is_there) {
        const float theta =
            in.theta((token.entry * n.seq_len + token.t) * in.angles() + by_angle.inner);
        angle = within_turn(angle + in.dt[token.scalar(n)] * theta);
      }
      phi[index * in.angles() + by_angle.inner] = angle;
    }
  }
};

/// Angles at the start of each chunk. Over [E, H, S], each along the chunks.
template <typename T>
struct StartAngles {
  Mamba3Arrays<T> in;
  const float* phi;
  float* start;        // [E, M, H, S]
  float* final_angle;  // [E, H, S] or null
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_angle = split(i, in.angles());
    const Split by_head = split(by_angle.outer, n.heads);
    float angle = in.initial_angle == nullptr ? 0.0F : in.initial_angle[i];
    for (std::int64_t c = 0; c < n.num_chunks(); ++c) {
      const std::int64_t block = block_of(n, by_head.outer, c, by_head.inner);
      start[block * in.angles() + by_angle.inner] = angle;
      const std::int64_t last = (block + 1) * n.chunk - 1;
      angle = within_turn(angle + phi[last * in.angles() + by_angle.inner]);
    }
    if (final_angle != nullptr) {
      final_angle[i] = angle;
    }
  }
};

/// Angles of a token of a head: where its chunk starts and what came since.
struct TokenAngles {
  const float* start;
  const float* phi;

  constexpr float at(std::int64_t m) const { return start[m] + phi[m]; }
};
constexpr TokenAngles angles_of(const float* start, const float* phi, std::int64_t block,
                                std::int64_t token, std::int64_t angles) {
  return {.start = start + block * angles, .phi = phi + token * angles};
}

/// k and q, biased and turned. A row each.
template <typename T>
struct Mamba3Keys {
  Mamba3Arrays<T> in;
  const float* sums;
  const float* start;
  const float* phi;
  T* q;
  T* q_decayed;  // e^s q, or null
  T* k;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_rank = split(row, n.ranks);
    const TokenAt token = token_at(n, by_rank.outer);
    const std::int64_t group = token.head / (n.heads / in.groups);
    const std::int64_t from =
        (((token.entry * n.seq_len + token.t) * n.ranks + by_rank.inner) * in.groups + group) *
        n.state;
    const std::int64_t bias = (token.head * n.ranks + by_rank.inner) * n.state;
    const TokenAngles angles = angles_of(start, phi, token.block, by_rank.outer, in.angles());
    const float decay = std::exp(sums[by_rank.outer]);
    for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
      float query = 0;
      float key = 0;
      if (token.is_there) {
        const std::int64_t m = in.pairs.angle_of(i);
        const float angle = m < 0 ? 0.0F : angles.at(m);
        const float cosine = m < 0 ? 1.0F : std::cos(angle);
        const float sine = m < 0 ? 0.0F : std::sin(angle);
        query = turned(in.q + from, in.q_bias + bias, i, m, cosine, sine);
        key = turned(in.k + from, in.k_bias + bias, i, m, cosine, sine);
      }
      const std::int64_t at = row * n.state + i;
      q[at] = static_cast<T>(query);
      k[at] = static_cast<T>(key);
      if (q_decayed != nullptr) {
        q_decayed[at] = static_cast<T>(decay * query);
      }
    }
  }

  // (u0, u1) -> (u0 cos - u1 sin, u0 sin + u1 cos)
  constexpr float turned(const T* u, const float* bias, std::int64_t i, std::int64_t m,
                         float cosine, float sine) const {
    const float own = static_cast<float>(u[i]) + bias[i];
    if (m < 0) {
      return own;
    }
    const bool is_second = in.pairs.is_second(i);
    const std::int64_t j = is_second ? in.pairs.first(m) : in.pairs.second(m);
    const float other = static_cast<float>(u[j]) + bias[j];
    return is_second ? other * sine + own * cosine : own * cosine - other * sine;
  }
};

/// x = v mimo_x. A row each.
template <typename T>
struct Mamba3Values {
  Mamba3Arrays<T> in;
  T* x;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_rank = split(row, n.ranks);
    const TokenAt token = token_at(n, by_rank.outer);
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      const float value = token.is_there
                              ? static_cast<float>(in.v[token.scalar(n) * n.head_dim + p]) *
                                    in.mimo(token.head, by_rank.inner, p, n)
                              : 0.0F;
      x[row * n.head_dim + p] = static_cast<T>(value);
    }
  }
};

/// The state before the first token: h0 + back_0 sum over ranks of x0 k0^T. Over [E, H, P, N].
template <typename T>
struct Mamba3Initial {
  Mamba3Arrays<T> in;
  float* state;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const StateAt at = state_at(n, i);
    const Split by_channel = split(static_cast<std::uint32_t>(at.inner), n.state);
    const std::int64_t entry_head = at.entry * n.heads + at.head;
    float sum = 0;
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      sum += in.initial_x(entry_head, r, by_channel.outer, n) *
             in.initial_k[state_key_at(n, at.entry, r, at.head) + by_channel.inner];
    }
    state[i] = in.initial_ssm[i] + in.back(at.entry * n.seq_len * n.heads + at.head) * sum;
  }
};

/// k and v of the last token, for the next. Over [E, H], a row each.
template <typename T>
struct Mamba3LastToken {
  Mamba3Arrays<T> in;
  const T* k;      // [rows, N]
  float* final_k;  // [E, R, H, N]
  float* final_v;  // [E, H, P]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_head = split(row, n.heads);
    const std::int64_t entry = by_head.outer;
    const std::int64_t token = token_of(n, entry, n.seq_len - 1, by_head.inner);
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const std::int64_t to = state_key_at(n, entry, r, by_head.inner);
      for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
        final_k[to + i] = static_cast<float>(k[(token * n.ranks + r) * n.state + i]);
      }
    }
    const std::int64_t from = ((entry + 1) * n.seq_len - 1) * n.heads + by_head.inner;
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      final_v[row * n.head_dim + p] = static_cast<float>(in.v[from * n.head_dim + p]);
    }
  }
};

/// One token by the definition, given its rows. Over [E, H, P], T = 1:
///   h = e^a (h0 + back x0 k0^T) + gamma x k^T,   o_r = h q_r + D x_r
template <typename T>
struct Mamba3Recurrence {
  const T* q;
  const T* k;
  const T* x;
  const float* gamma;
  const float* log_decays;
  const float* initial;  // [E, H, P, N] or null
  const float* skip;     // [H]
  T* o;                  // [E, R, H, P]
  float* final_ssm;      // [E, H, P, N]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_channel = split(row, n.head_dim);
    const Split by_head = split(by_channel.outer, n.heads);
    const std::int64_t first = by_channel.outer * n.ranks;  // row of rank 0
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      float sum = 0;
      for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
        const float state = state_of(by_channel, row, i);
        if (r == 0) {
          final_ssm[row * n.state + i] = state;
        }
        sum += state * static_cast<float>(q[(first + r) * n.state + i]);
      }
      sum = lanes.sum(sum);
      if (lanes.index() == 0) {
        const auto own = static_cast<float>(x[(first + r) * n.head_dim + by_channel.inner]);
        o[((by_head.outer * n.ranks + r) * n.heads + by_head.inner) * n.head_dim +
          by_channel.inner] = static_cast<T>(sum + skip[by_head.inner] * own);
      }
    }
  }

  constexpr float state_of(const Split& by_channel, std::uint32_t row, std::int64_t i) const {
    float added = 0;
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const std::int64_t at = by_channel.outer * n.ranks + r;
      added += static_cast<float>(x[at * n.head_dim + by_channel.inner]) *
               static_cast<float>(k[at * n.state + i]);
    }
    const float before = initial == nullptr ? 0.0F : initial[row * n.state + i];
    return std::exp(log_decays[by_channel.outer]) * before + gamma[by_channel.outer] * added;
  }
};

}  // namespace ghost::cuda
