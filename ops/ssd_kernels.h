#pragma once

#include "engine/tensor/tensor.h"
#include "ops/ssd.h"

namespace ghost {

/// M = ceil(T / L) chunks of L tokens, the last one shorter. Weights, states, scratch and what is
/// theirs below are f32 where xbc, dt and y are bf16.
struct SsdInputs {
  SsdConfig config;  // chunk is L, 0 for the recurrence
  Tensor xbc;        // [B, T, H P + 2 G N]
  Tensor dt;         // [B, T, H]
  SsdWeights weights;
  Tensor initial_state;  // [B, H, P, N] or undefined
};

/// What forward computes on its way and backward computes again.
struct SsdWorkspace {
  Tensor steps;       // [B, H, T] w
  Tensor log_decays;  // [B, H, T] sums of a from the start of the chunk up to t
  Tensor states;      // [B, M + 1, H, P, N] at the start of each chunk; the last is the final one
  Tensor scratch;     // ssd_scratch of L
};

struct SsdForward {
  SsdInputs in;
  SsdWorkspace work;   // undefined for the recurrence
  Tensor y;            // [B, T, H P]
  Tensor final_state;  // [B, H, P, N]
};

/// A gradient of one number a head.
struct SsdHeadGradient {
  Tensor grad;  // [H] or undefined; P = 1
  bool accumulate = false;
};

struct SsdBackward {
  SsdInputs in;
  SsdWorkspace work;
  Tensor dy;              // [P, B, T, H P]
  Tensor dfinal_state;    // [P, B, H, P, N]
  Tensor dstates;         // [P, B, M + 1, H, P, N] scratch: cotangents of states
  Tensor dlog_decay;      // [P, B, M, H] scratch: cotangent of the sum of a over a chunk
  Tensor partial;         // [3, B M, H] scratch for the gradients of heads
  Tensor dxbc;            // [P, B, T, H P + 2 G N]
  Tensor ddt;             // [P, B, T, H]
  Tensor dinitial_state;  // [P, B, H, P, N] or undefined
  SsdHeadGradient da_log;
  SsdHeadGradient dd;
  SsdHeadGradient ddt_bias;
};

namespace cpu {
/// Elements of scratch for all threads, where xbc has that dtype.
std::int64_t ssd_scratch(const SsdShape& shape, std::int64_t chunk, DType dtype);
void ssd(const SsdForward& args);
void ssd(const SsdBackward& args);
}  // namespace cpu

namespace cuda {
/// Take their scratch from `ctx` and leave work, dstates, dlog_decay and partial alone.
void ssd(const Context& ctx, const SsdForward& args);
void ssd(const Context& ctx, const SsdBackward& args);
}  // namespace cuda

}  // namespace ghost
