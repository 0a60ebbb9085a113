#pragma once

#include "ops/mamba3_core.h"

namespace ghost {

struct Mamba3Size {
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t ranks;
  std::int64_t groups;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t state;
  std::int64_t angles;
  std::int64_t chunk;  // tokens

  std::int64_t num_chunks() const { return (seq_len + chunk - 1) / chunk; }
  std::int64_t chunk_rows() const { return chunk * ranks; }  // (token, rank) pairs
  std::int64_t state_numel() const { return head_dim * state; }
  /// Elements of keys and values, once for each head.
  std::int64_t elements() const { return batch * seq_len * ranks * heads * (state + head_dim); }
};

struct Mamba3CoreForward {
  Mamba3CoreInput in;
  Tensor o;           // [B, T, R, H, P]
  Mamba3State state;  // after the last token; every tensor defined
  Tensor workspace;   // CPU: mamba3_core_forward_workspace elements
  Mamba3Size size;
  RotaryPairing pairing;
};

struct Mamba3CoreBackward {
  Mamba3CoreInput in;
  Tensor dout;         // [P, B, T, R, H, P]
  Mamba3State dstate;  // cotangents of the final state, [P, ...]
  // Cotangents of the inputs, [P, ...] or undefined. Gradients of weights, P = 1, are added to.
  Mamba3CoreInput grad;
  Tensor workspace;  // CPU: mamba3_core_backward_workspace elements
  Mamba3Size size;
  RotaryPairing pairing;
};

namespace cpu {
std::int64_t mamba3_core_forward_workspace(const Mamba3Size& size);
/// For `basis` cotangents at once.
std::int64_t mamba3_core_backward_workspace(const Mamba3Size& size, std::int64_t basis);
void mamba3_core(const Mamba3CoreForward& args);
void mamba3_core(const Mamba3CoreBackward& args);
/// The definition, token by token: the yardstick of the chunked form, and what runs for T = 1.
void mamba3_core_recurrence(const Mamba3CoreForward& args);
}  // namespace cpu

namespace cuda {
/// Take their scratch from `ctx` and leave the workspace alone.
void mamba3_core(const Context& ctx, const Mamba3CoreForward& args);
void mamba3_core(const Context& ctx, const Mamba3CoreBackward& args);
}  // namespace cuda

}  // namespace ghost
