#pragma once

// The order of steps and products that both cores share. Passes are templates on what runs them:
//
//   launch.each(n, step)      step(i) for all i < n
//   launch.rows(n, step)      step(row, lanes) for all rows < n, a warp each
//   launch.multiply(gemm)     ops/cuda/gemm.h
//   launch.add_parts(...)     ops/cuda/column_sums.h
//   Launch::Lanes             the lanes of a row
//
// DeviceLaunch (launch.cuh) runs them on a GPU, a test on the CPU.

#include <type_traits>
#include <vector>

#include "engine/autograd/context.h"
#include "ops/cuda/chunked/steps.h"
#include "ops/cuda/gemm.h"

namespace ghost::cuda {

/// The elements, or null.
template <typename T>
T* pointer(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

/// Hands out memory of a context and holds it for its lifetime.
class Scratch {
 public:
  explicit Scratch(const Context& ctx) : ctx_(ctx) {}
  template <typename T>
  T* take(std::int64_t elements) {
    held_.push_back(ctx_.empty({elements}, kDTypeOf<T>));
    return held_.back().template data<T>();
  }

 private:
  const Context& ctx_;
  std::vector<Tensor> held_;
};

/// What a forward pass works on, and what backward makes again. Rows are those of all blocks.
template <typename T>
struct Chunked {
  ChunkSizes n;
  const float* skip = nullptr;  // [H] D
  float* log_decays;            // [E, M, H, L] a
  float* sums;                  // [E, M, H, L] s
  float* sigma;                 // [E, M, H, L]
  float* gamma;                 // [E, M, H, L], may be sigma
  T* q;                         // [rows, N]
  T* k;                         // [rows, N]
  T* x;                         // [rows, P]
  T* weighted;                  // [rows, P] e^{S - s} sigma x
  T* scores;                    // [blocks, L R, L R]
  float* states;                // [blocks, P, N] before each chunk
  T* state_operands;            // the same as operands

  Chunked(Scratch& scratch, const ChunkSizes& sizes)
      : n(sizes),
        log_decays(scratch.take<float>(n.tokens())),
        sums(scratch.take<float>(n.tokens())),
        sigma(scratch.take<float>(n.tokens())),
        gamma(sigma),
        q(scratch.take<T>(n.rows() * n.state)),
        k(scratch.take<T>(n.rows() * n.state)),
        x(scratch.take<T>(n.rows() * n.head_dim)),
        weighted(scratch.take<T>(n.rows() * n.head_dim)),
        scores(scratch.take<T>(n.rows() * n.block_rows())),
        states(scratch.take<float>(n.blocks() * n.head_state())),
        state_operands(operands_of(scratch, states, n.blocks() * n.head_state())) {}

  /// Memory for f32 numbers as operands: their own where operands are f32.
  static T* operands_of(Scratch& scratch, float* values, std::int64_t count) {
    if constexpr (std::is_same_v<T, float>) {
      return values;
    } else {
      return scratch.take<T>(count);
    }
  }
  /// Where steps put operands: nowhere if they are f32.
  static T* separate(T* operands) { return std::is_same_v<T, float> ? nullptr : operands; }

  // One matrix a block.
  template <typename U>
  Matrix matrix(U* data, std::int64_t rows, std::int64_t columns,
                Transpose transpose = Transpose::kNo) const {
    return {.data = data,
            .dtype = kDTypeOf<U>,
            .stride = columns,
            .transpose = transpose,
            .batch_stride = rows * columns};
  }
  template <typename U>
  Matrix keys(U* data, Transpose transpose = Transpose::kNo) const {
    return matrix(data, n.block_rows(), n.state, transpose);
  }
  template <typename U>
  Matrix values(U* data, Transpose transpose = Transpose::kNo) const {
    return matrix(data, n.block_rows(), n.head_dim, transpose);
  }
  template <typename U>
  Matrix pairs(U* data, Transpose transpose = Transpose::kNo) const {
    return matrix(data, n.block_rows(), n.block_rows(), transpose);
  }
  template <typename U>
  Matrix state(U* data, Transpose transpose = Transpose::kNo) const {
    return matrix(data, n.head_dim, n.state, transpose);
  }
  // c (+)= a b in every block.
  Gemm product(std::int64_t rows, std::int64_t columns, std::int64_t depth, const Matrix& a,
               const Matrix& b, const Matrix& c, float beta = 0) const {
    return {.m = rows,
            .n = columns,
            .k = depth,
            .a = a,
            .b = b,
            .c = c,
            .beta = beta,
            .batch = n.blocks()};
  }
};

/// The states before each chunk and after the last, given sums, sigma, k and x.
template <typename T, typename Launch>
void make_states(const Launch& launch, const Chunked<T>& c, const float* initial,
                 float* final_state = nullptr) {
  const ChunkSizes& n = c.n;
  launch.rows(
      n.rows(),
      WeighInputs<T>{.sums = c.sums, .sigma = c.sigma, .x = c.x, .weighted = c.weighted, .n = n});
  launch.multiply(c.product(n.head_dim, n.state, n.block_rows(),
                            c.values(c.weighted, Transpose::kYes), c.keys(c.k), c.state(c.states)));
  launch.each(n.states(), PassStates<T>{.sums = c.sums,
                                        .initial = initial,
                                        .states = c.states,
                                        .operands = c.separate(c.state_operands),
                                        .final_state = final_state,
                                        .n = n});
}

/// Scores as they are, q k^T.
template <typename T, typename Launch>
void make_scores(const Launch& launch, const Chunked<T>& c) {
  launch.multiply(c.product(c.n.block_rows(), c.n.block_rows(), c.n.state, c.keys(c.q),
                            c.keys(c.k, Transpose::kYes), c.pairs(c.scores)));
}

/// o [rows, P], given the states and q_decayed = e^s q [rows, N].
template <typename T, typename Launch>
void make_outputs(const Launch& launch, const Chunked<T>& c, T* q_decayed, float* o) {
  const ChunkSizes& n = c.n;
  make_scores(launch, c);
  launch.rows(n.rows(), MixScores<T>{.sums = c.sums,
                                     .sigma = c.sigma,
                                     .gamma = c.gamma,
                                     .skip = c.skip,
                                     .scores = c.scores,
                                     .n = n});
  launch.multiply(c.product(n.block_rows(), n.head_dim, n.block_rows(), c.pairs(c.scores),
                            c.values(c.x), c.values(o)));
  launch.multiply(c.product(n.block_rows(), n.head_dim, n.state, c.keys(q_decayed),
                            c.state(c.state_operands, Transpose::kYes), c.values(o), /*beta=*/1));
}

/// What one cotangent of the outputs works on and leaves.
template <typename T>
struct ChunkedCotangents {
  T* dout;                 // [rows, P]
  T* decayed;              // [rows, P] e^s dout
  T* mixed;                // [blocks, L R, L R]
  T* dscores;              // [blocks, L R, L R]
  float* dstates;          // [blocks, P, N] of the state behind each chunk
  T* dstate_operands;      // the same as operands
  float* dinitial;         // [E, H, P, N]
  float* dq;               // [rows, N]
  float* dk;               // [rows, N]
  float* dx;               // [rows, P]
  float* dsigma_by_state;  // [rows]
  float* dsigma_in_chunk;  // [rows]
  float* dgamma_by_row;    // [rows]
  float* dskip;            // [rows]
  float* rho;              // [rows]
  float* crossing;         // [blocks, strips, L]
  float* chunk_crossing;   // [blocks]
  float* da;               // [E, M, H, L]
  float* dsigma;           // [E, M, H, L]
  float* dgamma;           // [E, M, H, L]
  std::int64_t strips;

  /// Scores are overwritten if they are not `kept` for further cotangents.
  template <typename Launch>
  ChunkedCotangents(const Launch& /*launch*/, Scratch& scratch, const Chunked<T>& c, bool is_kept)
      : dout(scratch.take<T>(c.n.rows() * c.n.head_dim)),
        decayed(scratch.take<T>(c.n.rows() * c.n.head_dim)),
        mixed(is_kept ? scratch.take<T>(c.n.rows() * c.n.block_rows()) : c.scores),
        dscores(scratch.take<T>(c.n.rows() * c.n.block_rows())),
        dstates(scratch.take<float>(c.n.blocks() * c.n.head_state())),
        dstate_operands(c.operands_of(scratch, dstates, c.n.blocks() * c.n.head_state())),
        dinitial(scratch.take<float>(c.n.states())),
        dq(scratch.take<float>(c.n.rows() * c.n.state)),
        dk(scratch.take<float>(c.n.rows() * c.n.state)),
        dx(scratch.take<float>(c.n.rows() * c.n.head_dim)),
        dsigma_by_state(scratch.take<float>(c.n.rows())),
        dsigma_in_chunk(scratch.take<float>(c.n.rows())),
        dgamma_by_row(scratch.take<float>(c.n.rows())),
        dskip(scratch.take<float>(c.n.rows())),
        rho(scratch.take<float>(c.n.rows())),
        crossing(nullptr),
        chunk_crossing(scratch.take<float>(c.n.blocks())),
        da(scratch.take<float>(c.n.tokens())),
        dsigma(scratch.take<float>(c.n.tokens())),
        dgamma(scratch.take<float>(c.n.tokens())),
        strips(MixBackward<T>::template strips<typename Launch::Lanes>(c.n)) {
    crossing = scratch.take<float>(c.n.blocks() * strips * c.n.chunk);
  }
};

/// Pulls dout [E, T, ..., H, P] in `rows` and the cotangent dfinal [E, H, P, N] of the final state
/// back, given states and scores. With h the state before a chunk and dh the cotangent of the one
/// behind it:
///   dq = e^s h^T do + dA k,   dk = weighted^T dh + dA^T q,   dx = e^{S - s} sigma dh k + M^T do
template <typename T, typename Launch>
void pull_back(const Launch& launch, const Chunked<T>& c, const ChunkedCotangents<T>& d,
               const T* dout, const HeadRows& rows, const float* dfinal) {
  const ChunkSizes& n = c.n;
  const std::int64_t size = n.block_rows();
  launch.rows(n.rows(), PackRows<T>{.from = dout,
                                    .sums = c.sums,
                                    .packed = d.dout,
                                    .decayed = d.decayed,
                                    .rows = rows,
                                    .n = n});
  launch.multiply(c.product(n.head_dim, n.state, size, c.values(d.decayed, Transpose::kYes),
                            c.keys(c.q), c.state(d.dstates)));
  launch.each(n.states(), PassCotangents<T>{.sums = c.sums,
                                            .dfinal = dfinal,
                                            .dstates = d.dstates,
                                            .operands = c.separate(d.dstate_operands),
                                            .dinitial = d.dinitial,
                                            .n = n});
  launch.rows(n.blocks(), CrossChunks{.sums = c.sums,
                                      .states = c.states,
                                      .dstates = d.dstates,
                                      .crossing = d.chunk_crossing,
                                      .n = n});

  const Matrix dstate = c.state(d.dstate_operands);
  launch.multiply(c.product(size, n.state, n.head_dim, c.values(d.decayed),
                            c.state(c.state_operands), c.keys(d.dq)));
  launch.multiply(c.product(size, n.state, n.head_dim, c.values(c.weighted), dstate, c.keys(d.dk)));
  launch.multiply(c.product(size, n.head_dim, n.state, c.keys(c.k),
                            c.state(d.dstate_operands, Transpose::kYes), c.values(d.dx)));
  launch.rows(n.rows(), ThroughStates<T>{.sums = c.sums,
                                         .sigma = c.sigma,
                                         .x = c.x,
                                         .q = c.q,
                                         .dq = d.dq,
                                         .dx = d.dx,
                                         .dsigma = d.dsigma_by_state,
                                         .rho = d.rho,
                                         .n = n});

  launch.multiply(c.product(size, size, n.head_dim, c.values(d.dout),
                            c.values(c.x, Transpose::kYes), c.pairs(d.dscores)));
  launch.rows(n.blocks() * d.strips, MixBackward<T>{.sums = c.sums,
                                                    .sigma = c.sigma,
                                                    .gamma = c.gamma,
                                                    .skip = c.skip,
                                                    .scores = c.scores,
                                                    .mixed = d.mixed,
                                                    .dscores = d.dscores,
                                                    .dsigma = d.dsigma_in_chunk,
                                                    .dgamma = d.dgamma_by_row,
                                                    .dskip = d.dskip,
                                                    .crossing = d.crossing,
                                                    .n = n});
  launch.multiply(c.product(size, n.head_dim, size, c.pairs(d.mixed, Transpose::kYes),
                            c.values(d.dout), c.values(d.dx), /*beta=*/1));
  launch.multiply(
      c.product(size, n.state, size, c.pairs(d.dscores), c.keys(c.k), c.keys(d.dq), /*beta=*/1));
  launch.multiply(c.product(size, n.state, size, c.pairs(d.dscores, Transpose::kYes), c.keys(c.q),
                            c.keys(d.dk), /*beta=*/1));
  launch.each(n.tokens(), TokenCotangents{.sigma = c.sigma,
                                          .rho = d.rho,
                                          .dsigma_by_state = d.dsigma_by_state,
                                          .dsigma_in_chunk = d.dsigma_in_chunk,
                                          .dgamma_by_row = d.dgamma_by_row,
                                          .crossing = d.crossing,
                                          .chunk_crossing = d.chunk_crossing,
                                          .da = d.da,
                                          .dsigma = d.dsigma,
                                          .dgamma = d.dgamma,
                                          .strips = d.strips,
                                          .n = n});
}

}  // namespace ghost::cuda
