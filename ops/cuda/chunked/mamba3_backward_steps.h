#pragma once

// What Mamba-3 adds to the steps that both cores share, backward.

#include "ops/cuda/chunked/mamba3_steps.h"

namespace ghost::cuda {

/// Turns dq and dk back in place and leaves what the angles get. A token of a head each:
///   dphi += du_1 u_0 - du_0 u_1,   du = R(-phi) du
template <typename T>
struct TurnBack {
  Mamba3Arrays<T> in;
  const float* start;
  const float* phi;
  const T* q;
  const T* k;
  const float* dfinal_k;  // [E, R, H, N], to the last token's k
  float* dq;
  float* dk;
  float* dphi;  // [E, M, H, L, S]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t i, const Lanes& lanes) const {
    const TokenAt token = token_at(n, i);
    const bool is_last = token.t == n.seq_len - 1;
    const TokenAngles angles = angles_of(start, phi, token.block, i, in.angles());
    for (std::int64_t m = lanes.index(); m < in.angles(); m += Lanes::kCount) {
      float sum = 0;
      if (token.is_there) {
        const float cosine = std::cos(angles.at(m));
        const float sine = std::sin(angles.at(m));
        for (std::int64_t r = 0; r < n.ranks; ++r) {
          const std::int64_t first = (i * n.ranks + r) * n.state + in.pairs.first(m);
          const std::int64_t second = (i * n.ranks + r) * n.state + in.pairs.second(m);
          if (is_last) {
            const float* dfinal = dfinal_k + state_key_at(n, token.entry, r, token.head);
            dk[first] += dfinal[in.pairs.first(m)];
            dk[second] += dfinal[in.pairs.second(m)];
          }
          sum += turn_back(q, dq, first, second, cosine, sine);
          sum += turn_back(k, dk, first, second, cosine, sine);
        }
      }
      dphi[i * in.angles() + m] = sum;
    }
    for (std::int64_t r = 0; is_last && r < n.ranks; ++r) {
      const std::int64_t from = state_key_at(n, token.entry, r, token.head);
      for (std::int64_t j = lanes.index(); j < n.state; j += Lanes::kCount) {
        if (in.pairs.angle_of(j) < 0) {
          dk[(i * n.ranks + r) * n.state + j] += dfinal_k[from + j];
        }
      }
    }
  }

  static constexpr float turn_back(const T* u, float* du, std::int64_t first, std::int64_t second,
                                   float cosine, float sine) {
    const float du0 = du[first];
    const float du1 = du[second];
    du[first] = du0 * cosine + du1 * sine;
    du[second] = du1 * cosine - du0 * sine;
    return du1 * static_cast<float>(u[first]) - du0 * static_cast<float>(u[second]);
  }
};

/// dphi of a token becomes the sum over it and the later tokens of its chunk. Over [E, M, H, S].
struct WalkAnglesBack {
  float* dphi;
  std::int64_t angles;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_angle = split(i, angles);
    float sum = 0;
    for (std::int64_t l = n.chunk - 1; l >= 0; --l) {
      const std::int64_t at = (by_angle.outer * n.chunk + l) * angles + by_angle.inner;
      sum += dphi[at];
      dphi[at] = sum;
    }
  }
};

/// What the chunks behind each one add to that. Over [E, H, S].
struct EndAngles {
  const float* dphi;
  const float* dfinal;  // [E, H, S]
  float* end;           // [E, M, H, S]
  float* dinitial;      // [E, H, S] or null
  std::int64_t angles;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_angle = split(i, angles);
    const Split by_head = split(by_angle.outer, n.heads);
    float sum = dfinal[i];
    for (std::int64_t c = n.num_chunks() - 1; c >= 0; --c) {
      const std::int64_t block = block_of(n, by_head.outer, c, by_head.inner);
      end[block * angles + by_angle.inner] = sum;
      sum += dphi[block * n.chunk * angles + by_angle.inner];
    }
    if (dinitial != nullptr) {
      dinitial[i] = sum;
    }
  }
};

/// da, ddt and dtrap. A token of a head each:
///   gamma = lambda dt, back = (1 - lambda) dt, sigma_t = gamma_t + back_{t+1}
template <typename T>
struct Mamba3Scalars {
  Mamba3Arrays<T> in;
  const float* dphi;
  const float* end;
  const float* da;
  const float* dsigma;
  const float* dgamma;
  const float* dback;  // [E, H] of the first token, or null
  float* da_out;       // [E, T, H], as those below; null: not wanted
  float* ddt_out;
  T* dtrap_out;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t i, const Lanes& lanes) const {
    const TokenAt token = token_at(n, i);
    float along = 0;
    const std::int64_t first = (token.entry * n.seq_len + token.t) * in.angles();
    const TokenAngles sums = angles_of(end, dphi, token.block, i, in.angles());
    for (std::int64_t m = lanes.index(); token.is_there && m < in.angles(); m += Lanes::kCount) {
      along += in.theta(first + m) * sums.at(m);
    }
    along = lanes.sum(along);
    if (lanes.index() != 0 || !token.is_there) {
      return;
    }
    const std::int64_t at = token.scalar(n);
    const float lambda = in.lambda(at);
    const float of_gamma = dgamma[i] + dsigma[i];
    float of_back = 0;
    if (token.t > 0) {
      of_back = dsigma[token_of(n, token.entry, token.t - 1, token.head)];
    } else if (dback != nullptr) {
      of_back = dback[token.entry * n.heads + token.head];
    }
    if (da_out != nullptr) {
      da_out[at] = da[i];
    }
    if (ddt_out != nullptr) {
      ddt_out[at] = along + lambda * of_gamma + (1 - lambda) * of_back;
    }
    if (dtrap_out != nullptr) {
      dtrap_out[at] = static_cast<T>(in.dt[at] * (of_gamma - of_back) * lambda * (1 - lambda));
    }
  }
};

/// dangle = pi (1 - tanh^2) sum over heads of dt dphi. Over [E, T, S].
template <typename T>
struct AngleCotangents {
  Mamba3Arrays<T> in;
  const float* dphi;
  const float* end;
  T* dangle;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_angle = split(i, in.angles());
    const Split by_token = split(by_angle.outer, n.seq_len);
    float sum = 0;
    for (std::int64_t h = 0; h < n.heads; ++h) {
      const std::int64_t token = token_of(n, by_token.outer, by_token.inner, h);
      const TokenAngles sums = angles_of(
          end, dphi, split(static_cast<std::uint32_t>(token), n.chunk).outer, token, in.angles());
      sum += in.dt[by_angle.outer * n.heads + h] * sums.at(by_angle.inner);
    }
    const float tanh = std::tanh(static_cast<float>(in.angle[i]));
    dangle[i] = static_cast<T>(std::numbers::pi_v<float> * (1 - tanh * tanh) * sum);
  }
};

/// dq or dk: sums over the heads of a group, in order. Over [E, T, R, G], a row each.
template <typename T>
struct Mamba3KeyCotangents {
  const float* from;  // [rows, N]
  T* to;              // [E, T, R, G, N]
  std::int64_t groups;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_group = split(row, groups);
    const Split by_rank = split(by_group.outer, n.ranks);
    const Split by_token = split(by_rank.outer, n.seq_len);
    const std::int64_t heads = n.heads / groups;
    for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
      float sum = 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t token =
            token_of(n, by_token.outer, by_token.inner, by_group.inner * heads + h);
        sum += from[(token * n.ranks + by_rank.inner) * n.state + i];
      }
      to[row * n.state + i] = static_cast<T>(sum);
    }
  }
};

/// dv = sum over ranks of mimo_x dx. Over [E, T, H], a row each.
template <typename T>
struct Mamba3ValueCotangents {
  Mamba3Arrays<T> in;
  const float* dx;        // [rows, P]
  const float* dfinal_v;  // [E, H, P], to the last token
  T* dv;                  // [E, T, H, P]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_head = split(row, n.heads);
    const Split by_token = split(by_head.outer, n.seq_len);
    const std::int64_t head = by_head.inner;
    const std::int64_t first = token_of(n, by_token.outer, by_token.inner, head) * n.ranks;
    const bool is_last = by_token.inner == n.seq_len - 1;
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      float sum = is_last ? dfinal_v[(by_token.outer * n.heads + head) * n.head_dim + p] : 0.0F;
      for (std::int64_t r = 0; r < n.ranks; ++r) {
        sum += in.mimo(head, r, p, n) * dx[(first + r) * n.head_dim + p];
      }
      dv[row * n.head_dim + p] = static_cast<T>(sum);
    }
  }
};

/// What a chunk adds to the gradient of a weight [H, R, W]: a sum over its tokens, a part a chunk.
/// Over [blocks, R], a row each.
struct SumTokens {
  const float* from;  // [rows, W]
  float* part;        // [E M, H, R, W]
  std::int64_t width;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_rank = split(row, n.ranks);
    for (std::int64_t i = lanes.index(); i < width; i += Lanes::kCount) {
      float sum = 0;
      for (std::int64_t l = 0; l < n.chunk; ++l) {
        const std::int64_t at = (by_rank.outer * n.chunk + l) * n.ranks + by_rank.inner;
        sum += from[at * width + i];
      }
      part[row * width + i] = sum;
    }
  }
};

/// The same for mimo_x: sums of v dx.
template <typename T>
struct SumMimo {
  Mamba3Arrays<T> in;
  const float* dx;
  float* part;  // [E M, H, R, P]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_rank = split(row, n.ranks);
    const BlockAt block = block_at(n, by_rank.outer);
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      float sum = 0;
      for (std::int64_t l = 0; l < n.chunk; ++l) {
        const std::int64_t t = block.chunk * n.chunk + l;
        if (t < n.seq_len) {
          const std::int64_t v = (block.entry * n.seq_len + t) * n.heads + block.head;
          const std::int64_t at = (by_rank.outer * n.chunk + l) * n.ranks + by_rank.inner;
          sum += static_cast<float>(in.v[v * n.head_dim + p]) * dx[at * n.head_dim + p];
        }
      }
      part[row * n.head_dim + p] = sum;
    }
  }
};

/// The same for D: sums of a block's rows, a row each.
struct SumSkips {
  const float* dskip;  // [rows]
  float* part;         // [blocks]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t block, const Lanes& lanes) const {
    float sum = 0;
    for (std::int64_t i = lanes.index(); i < n.block_rows(); i += Lanes::kCount) {
      sum += dskip[block * n.block_rows() + i];
    }
    sum = lanes.sum(sum);
    if (lanes.index() == 0) {
      part[block] = sum;
    }
  }
};

// The first chunk starts from h0 + back_0 sum over ranks of x0 k0^T, whose cotangent is dh.

/// dh k0. Over [E, H, P], a row each.
template <typename T>
struct InitialInputs {
  Mamba3Arrays<T> in;
  const float* dh;  // [E, H, P, N]
  float* dx;        // [E, H, R, P], not yet times back_0
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_channel = split(row, n.head_dim);
    const Split by_head = split(by_channel.outer, n.heads);
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const float* key = in.initial_k + state_key_at(n, by_head.outer, r, by_head.inner);
      float sum = 0;
      for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
        sum += dh[row * n.state + i] * key[i];
      }
      sum = lanes.sum(sum);
      if (lanes.index() == 0) {
        dx[(by_channel.outer * n.ranks + r) * n.head_dim + by_channel.inner] = sum;
      }
    }
  }
};

/// dk0 = back_0 dh^T x0. Over [E, R, H, N].
template <typename T>
struct InitialKeyCotangents {
  Mamba3Arrays<T> in;
  const float* dh;
  float* dk;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_channel = split(i, n.state);
    const Split by_head = split(by_channel.outer, n.heads);
    const Split by_rank = split(by_head.outer, n.ranks);
    const std::int64_t head = by_head.inner;
    const std::int64_t entry_head = by_rank.outer * n.heads + head;
    float sum = 0;
    for (std::int64_t p = 0; p < n.head_dim; ++p) {
      sum += in.initial_x(entry_head, by_rank.inner, p, n) *
             dh[(entry_head * n.head_dim + p) * n.state + by_channel.inner];
    }
    dk[i] = in.back(by_rank.outer * n.seq_len * n.heads + head) * sum;
  }
};

/// dback_0, dv0 and the part of dmimo_x. Over [E, H], a row each.
template <typename T>
struct InitialValueCotangents {
  Mamba3Arrays<T> in;
  const float* dx;   // of InitialInputs
  float* dback;      // [E, H]
  float* dv;         // [E, H, P] or null
  float* mimo_part;  // [E, H, R, P] or null
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_head = split(row, n.heads);
    const float back = in.back(by_head.outer * n.seq_len * n.heads + by_head.inner);
    float of_back = 0;
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      const float v = in.initial_v[row * n.head_dim + p];
      float of_v = 0;
      for (std::int64_t r = 0; r < n.ranks; ++r) {
        const std::int64_t at = (row * n.ranks + r) * n.head_dim + p;
        of_back += in.initial_x(row, r, p, n) * dx[at];
        of_v += in.mimo(by_head.inner, r, p, n) * back * dx[at];
        if (mimo_part != nullptr) {
          mimo_part[at] = v * back * dx[at];
        }
      }
      if (dv != nullptr) {
        dv[row * n.head_dim + p] = of_v;
      }
    }
    of_back = lanes.sum(of_back);
    if (lanes.index() == 0) {
      dback[row] = of_back;
    }
  }
};

}  // namespace ghost::cuda
