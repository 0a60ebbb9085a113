#pragma once

// The steps that both cores share; sizes.h says what a step is. s is the sum of a from the start of
// the chunk on and S that of the whole chunk; tokens past the end have a = 0 and zeros elsewhere.

#include <cmath>

#include "ops/cuda/chunked/sizes.h"

namespace ghost::cuda {

/// e^S of a block.
constexpr float decay_of_block(const float* sums, const ChunkSizes& n, std::int64_t block) {
  return std::exp(sums[(block + 1) * n.chunk - 1]);
}
/// e^{S - s} of a token.
constexpr float decay_behind(const float* sums, const ChunkSizes& n, std::uint32_t token) {
  const std::int64_t last = (split(token, n.chunk).outer + std::int64_t{1}) * n.chunk - 1;
  return std::exp(sums[last] - sums[token]);
}

/// s of every token. Over [E, M, H, L].
struct SumDecays {
  const float* log_decays;
  float* sums;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const std::uint32_t begin = i - split(i, n.chunk).inner;
    float sum = 0;
    for (std::uint32_t j = begin; j <= i; ++j) {
      sum += log_decays[j];
    }
    sums[i] = sum;
  }
};

/// x as it enters the state at the end of its chunk: e^{S - s} sigma x. A row of x each.
template <typename T>
struct WeighInputs {
  const float* sums;
  const float* sigma;
  const T* x;
  T* weighted;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const std::uint32_t token = split(row, n.ranks).outer;
    const float weight = decay_behind(sums, n, token) * sigma[token];
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      const std::int64_t at = row * n.head_dim + p;
      weighted[at] = static_cast<T>(weight * static_cast<float>(x[at]));
    }
  }
};

/// What each chunk leaves, [E, M, H, P, N], becomes the state before it. Over [E, H, P, N].
template <typename T>
struct PassStates {
  const float* sums;
  const float* initial;  // [E, H, P, N] or null
  float* states;
  T* operands;         // the states as operands of products, or null where they are such themselves
  float* final_state;  // [E, H, P, N] or null
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const StateAt at = state_at(n, i);
    float state = initial == nullptr ? 0.0F : initial[i];
    for (std::int64_t c = 0; c < n.num_chunks(); ++c) {
      const std::int64_t here = at.in_chunk(n, c);
      const float left = states[here];
      states[here] = state;
      if (operands != nullptr) {
        operands[here] = static_cast<T>(state);
      }
      state = decay_of_block(sums, n, block_of(n, at.entry, c, at.head)) * state + left;
    }
    if (final_state != nullptr) {
      final_state[i] = state;
    }
  }
};

/// Cotangents of the states: what the outputs of each chunk send to the state before it becomes the
/// cotangent of the state behind it. Over [E, H, P, N].
template <typename T>
struct PassCotangents {
  const float* sums;
  const float* dfinal;  // [E, H, P, N]
  float* dstates;
  T* operands;      // as above
  float* dinitial;  // [E, H, P, N] or null
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const StateAt at = state_at(n, i);
    float after = dfinal[i];
    for (std::int64_t c = n.num_chunks() - 1; c >= 0; --c) {
      const std::int64_t here = at.in_chunk(n, c);
      const float sent = dstates[here];
      dstates[here] = after;
      if (operands != nullptr) {
        operands[here] = static_cast<T>(after);
      }
      after = decay_of_block(sums, n, block_of(n, at.entry, c, at.head)) * after + sent;
    }
    if (dinitial != nullptr) {
      dinitial[i] = after;
    }
  }
};

/// What S of each chunk gets from the state that crosses it: e^S <dstate behind, state before>. A
/// block each.
struct CrossChunks {
  const float* sums;
  const float* states;
  const float* dstates;
  float* crossing;  // [E, M, H]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t block, const Lanes& lanes) const {
    const std::int64_t begin = block * n.head_state();
    float sum = 0;
    for (std::int64_t i = lanes.index(); i < n.head_state(); i += Lanes::kCount) {
      sum += dstates[begin + i] * states[begin + i];
    }
    sum = lanes.sum(sum);
    if (lanes.index() == 0) {
      crossing[block] = decay_of_block(sums, n, block) * sum;
    }
  }
};

/// The weights with which rows of x enter those of o. With A_ij = q_i . k_j, for tokens
///   j < i: e^{s_i - s_j} sigma_j A_ij,   j = i: gamma_i A_ij, and D on the diagonal,   j > i: 0
/// What lies above the diagonal is left out before the exponential, which would overflow there.
struct PairWeight {
  float decay;   // e^{s_i - s_j} for j < i
  float factor;  // of A_ij
  float skip;    // added
};
constexpr PairWeight pair_weight(const float* sums, const float* sigma, const float* gamma,
                                 std::int64_t token, std::int64_t other, float skip) {
  if (other > token) {
    return {.decay = 0, .factor = 0, .skip = 0};
  }
  if (other == token) {
    return {.decay = 0, .factor = gamma[token], .skip = skip};
  }
  const float decay = std::exp(sums[token] - sums[other]);
  return {.decay = decay, .factor = decay * sigma[other], .skip = 0};
}

/// Scores become weights in place. A row of scores each.
template <typename T>
struct MixScores {
  const float* sums;
  const float* sigma;
  const float* gamma;
  const float* skip;  // [H] D, or null
  T* scores;          // [E, M, H, L R, L R]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_row = split(row, n.block_rows());
    const std::int64_t token = split(by_row.inner, n.ranks).outer;
    const std::int64_t first = std::int64_t{by_row.outer} * n.chunk;
    const float d = skip == nullptr ? 0.0F : skip[split(by_row.outer, n.heads).inner];
    T* out = scores + row * n.block_rows();
    for (std::int64_t j = lanes.index(); j < n.block_rows(); j += Lanes::kCount) {
      const std::int64_t other = split(static_cast<std::uint32_t>(j), n.ranks).outer;
      const PairWeight weight = pair_weight(sums + first, sigma + first, gamma + first, token,
                                            other, j == by_row.inner ? d : 0.0F);
      out[j] = static_cast<T>(
          other > token ? 0.0F : weight.factor * static_cast<float>(out[j]) + weight.skip);
    }
  }
};

/// Rows [E, T, R, H, P] by head, as they are and, where wanted, times e^s. A row each.
template <typename T>
struct PackRows {
  const T* from;
  const float* sums;
  T* packed;
  T* decayed;  // or null
  HeadRows rows;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_row = split(row, n.ranks);
    const TokenAt token = token_at(n, by_row.outer);
    const std::int64_t begin = token.is_there ? rows.at(n, token, by_row.inner) : 0;
    const float decay = std::exp(sums[by_row.outer]);
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      const float value = token.is_there ? static_cast<float>(from[begin + p]) : 0.0F;
      packed[row * n.head_dim + p] = static_cast<T>(value);
      if (decayed != nullptr) {
        decayed[row * n.head_dim + p] = static_cast<T>(decay * value);
      }
    }
  }
};

/// The way back, rounded. A row each.
template <typename T>
struct UnpackRows {
  const float* packed;
  T* to;
  HeadRows rows;
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const Split by_row = split(row, n.ranks);
    const TokenAt token = token_at(n, by_row.outer);
    if (!token.is_there) {
      return;
    }
    const std::int64_t begin = rows.at(n, token, by_row.inner);
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      to[begin + p] = static_cast<T>(packed[row * n.head_dim + p]);
    }
  }
};

/// Over all elements.
struct CopyNumbers {
  const float* from;
  float* to;
  constexpr void operator()(std::uint32_t i) const { to[i] = from[i]; }
};

/// Between the products of a chunk with its states. A row each:
///   dx = e^{S - s} sigma (dh k),   dsigma = e^{S - s} x . (dh k),   rho = dq . q
template <typename T>
struct ThroughStates {
  const float* sums;
  const float* sigma;
  const T* x;
  const T* q;
  const float* dq;  // e^s h^T do
  float* dx;        // dh k on entry
  float* dsigma;    // [rows]
  float* rho;       // [rows]
  ChunkSizes n;

  template <typename Lanes>
  constexpr void operator()(std::uint32_t row, const Lanes& lanes) const {
    const std::uint32_t token = split(row, n.ranks).outer;
    const float to_end = decay_behind(sums, n, token);
    const float weight = to_end * sigma[token];
    float along_x = 0;
    for (std::int64_t p = lanes.index(); p < n.head_dim; p += Lanes::kCount) {
      const std::int64_t at = row * n.head_dim + p;
      along_x += static_cast<float>(x[at]) * dx[at];
      dx[at] *= weight;
    }
    float along_q = 0;
    for (std::int64_t i = lanes.index(); i < n.state; i += Lanes::kCount) {
      const std::int64_t at = row * n.state + i;
      along_q += static_cast<float>(q[at]) * dq[at];
    }
    along_x = lanes.sum(along_x);
    along_q = lanes.sum(along_q);
    if (lanes.index() == 0) {
      dsigma[row] = to_end * along_x;
      rho[row] = along_q;
    }
  }
};

/// Scores A = q k^T and dM = do x^T become the weights of MixScores and the cotangent of A. With
/// kappa_ij = dM_ij e^{s_i - s_j} sigma_j A_ij for tokens j < i, on the way:
///   dsigma_j = sum over i of kappa_ij / sigma_j,   dgamma_j, dD: likewise of the pairs j = i,
///   crossing_k = sum over tokens i >= k, j < k of kappa_ij
/// the last as a sum of what it names: differences of row and column sums cancel.
///
/// A strip of as many columns of a block as there are lanes, from the last row to the first, for
/// each strip of each block. Rows are read kRun at a time: the loop could not read ahead of its
/// own writes.
template <typename T>
struct MixBackward {
  static constexpr int kRun = 8;

  const float* sums;
  const float* sigma;
  const float* gamma;
  const float* skip;  // [H] D, or null
  const T* scores;
  T* mixed;         // may be scores
  T* dscores;       // dM on entry
  float* dsigma;    // [rows], as all below by column
  float* dgamma;    // [rows]
  float* dskip;     // [rows]
  float* crossing;  // [blocks, strips, L]: of the columns of a strip
  ChunkSizes n;

  template <typename Lanes>
  static constexpr std::int64_t strips(const ChunkSizes& n) {
    return (n.block_rows() + Lanes::kCount - 1) / Lanes::kCount;
  }

  template <typename Lanes>
  constexpr void operator()(std::uint32_t strip, const Lanes& lanes) const {
    const Split by_strip = split(strip, strips<Lanes>(n));
    const std::int64_t size = n.block_rows();
    const std::int64_t j = std::int64_t{by_strip.inner} * Lanes::kCount + lanes.index();
    const bool is_column = j < size;
    const std::int64_t other =
        is_column ? split(static_cast<std::uint32_t>(j), n.ranks).outer : n.chunk;
    const std::int64_t first = std::int64_t{by_strip.outer} * n.chunk;
    const std::int64_t matrix = std::int64_t{by_strip.outer} * size * size + j;
    const float d = skip == nullptr ? 0.0F : skip[split(by_strip.outer, n.heads).inner];
    const float own_sigma = is_column ? sigma[first + other] : 0.0F;
    float of_sigma = 0;
    float of_gamma = 0;
    float of_skip = 0;
    float suffix = 0;  // of kappa in this column
    std::int64_t token = n.chunk - 1;
    std::int64_t rank = n.ranks - 1;
    for (std::int64_t top = size - 1; top >= 0; top -= kRun) {
      float a[kRun] = {};
      float da[kRun] = {};
      for (int r = 0; r < kRun; ++r) {
        const std::int64_t i = top - r;
        if (is_column && i >= other * n.ranks) {
          a[r] = static_cast<float>(scores[matrix + i * size]);
          da[r] = static_cast<float>(dscores[matrix + i * size]);
        }
      }
      for (int r = 0; r < kRun && r <= top; ++r) {
        const std::int64_t i = top - r;
        if (is_column) {
          const PairWeight weight = pair_weight(sums + first, sigma + first, gamma + first, token,
                                                other, i == j ? d : 0.0F);
          const float along = da[r] * a[r];
          of_sigma += along * weight.decay;
          suffix += along * weight.decay * own_sigma;
          of_gamma += token == other ? along : 0.0F;
          of_skip += i == j ? da[r] : 0.0F;
          mixed[matrix + i * size] = static_cast<T>(weight.factor * a[r] + weight.skip);
          dscores[matrix + i * size] = static_cast<T>(weight.factor * da[r]);
        }
        if (rank > 0) {
          --rank;
          continue;
        }
        const float total = lanes.sum(other < token ? suffix : 0.0F);
        if (lanes.index() == 0) {
          crossing[strip * n.chunk + token] = total;
        }
        --token;
        rank = n.ranks - 1;
      }
    }
    if (is_column) {
      const std::int64_t at = std::int64_t{by_strip.outer} * size + j;
      dsigma[at] = of_sigma;
      dgamma[at] = of_gamma;
      dskip[at] = of_skip;
    }
  }
};

/// What the numbers of a token get, from those of its rows. Over [E, M, H, L]:
///   da_k = sum over i >= k of rho_i + sum over j < k of eps_j + crossings of k and of the chunk
/// with eps_j = sigma_j times what dsigma_j has by the state.
struct TokenCotangents {
  const float* sigma;
  const float* rho;              // [rows]
  const float* dsigma_by_state;  // [rows]
  const float* dsigma_in_chunk;  // [rows]
  const float* dgamma_by_row;    // [rows]
  const float* crossing;         // [blocks, strips, L]
  const float* chunk_crossing;   // [blocks]
  float* da;
  float* dsigma;
  float* dgamma;
  std::int64_t strips;
  ChunkSizes n;

  constexpr void operator()(std::uint32_t i) const {
    const Split by_token = split(i, n.chunk);
    const std::int64_t block = by_token.outer;
    const std::int64_t own = by_token.inner;
    const std::int64_t first = block * n.block_rows();
    float sum = 0;
    for (std::int64_t row = n.block_rows() - 1; row >= own * n.ranks; --row) {
      sum += rho[first + row];
    }
    float eps = 0;
    for (std::int64_t j = 0; j < own; ++j) {
      for (std::int64_t r = 0; r < n.ranks; ++r) {
        eps += sigma[block * n.chunk + j] * dsigma_by_state[first + j * n.ranks + r];
      }
    }
    float within = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      within += crossing[(block * strips + strip) * n.chunk + own];
    }
    da[i] = sum + eps + within + chunk_crossing[block];
    float of_sigma = 0;
    float of_gamma = 0;
    for (std::int64_t r = 0; r < n.ranks; ++r) {
      const std::int64_t row = first + own * n.ranks + r;
      of_sigma += dsigma_by_state[row] + dsigma_in_chunk[row];
      of_gamma += dgamma_by_row[row];
    }
    dsigma[i] = of_sigma;
    dgamma[i] = of_gamma;
  }
};

}  // namespace ghost::cuda
