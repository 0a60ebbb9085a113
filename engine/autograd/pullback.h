#pragma once

#include <cstdint>

#include "engine/autograd/node.h"
#include "engine/autograd/zero_blocks.h"

namespace ghost {

/// Where an op puts the gradient of a weight: [shape of the weight], f32 where the weight is bf16.
struct GradientTarget {
  Tensor grad;
  bool accumulate = false;  // add to what is there; otherwise its contents are undefined: overwrite
  /// Of the buffer in which the gradient starts at element `offset`, for sparse targets; else null.
  ZeroBlocks* zeros = nullptr;
  std::int64_t offset = 0;
};

/// One call of a backward rule: cotangents of the outputs come in, cotangents of the inputs go out.
/// Cotangents carry a leading basis dimension P; parameter gradients exist for P = 1 only.
class Pullback {
 public:
  virtual ~Pullback() = default;

  virtual std::int64_t basis_size() const = 0;  // P
  /// Cotangent of an output, [P, ...]; zeros when nothing flowed back to it.
  virtual Tensor dy(std::size_t output = 0) = 0;
  /// Whether anyone asks for the cotangent of an input; what nobody wants is not computed.
  virtual bool wanted(std::size_t input) const = 0;
  /// Takes the cotangent of an activation input, [P, ...].
  virtual void give(std::size_t input, Tensor dx) = 0;
  /// For weight inputs instead of `give`. Throws ghost::Error when P > 1.
  virtual GradientTarget target(std::size_t input) = 0;
  /// The same for ops that write few rows of a large weight: they keep `zeros` true.
  virtual GradientTarget sparse_target(std::size_t input) = 0;
  /// Whether gradients of parameters are part of this backward pass.
  virtual bool wants_parameters() const = 0;
};

}  // namespace ghost
