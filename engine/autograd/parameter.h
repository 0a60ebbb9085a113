#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/autograd/zero_blocks.h"
#include "engine/tensor/tensor.h"

namespace ghost {

enum class Decay { kYes, kNo };
enum class InitKind {
  kNormal,
  kTruncatedNormal,  // a normal cut at two of its deviations, widened so that `std` is its own
  kZeros,
  kOnes,
  kUniform,          // from low to high; equal bounds make a constant
  kLogOfUniform,     // the logarithm of such a number
  kInverseSoftplus,  // softplus of it is uniform in its logarithm, from low to high
};

/// What ops are handed of a parameter where activations have another dtype than values.
enum class Precision {
  kActivation,  // a working copy in the dtype of activations
  kValue,       // the value: what steers a state is never bf16
};

/// How a parameter starts: a distribution and its numbers.
struct Init {
  InitKind kind = InitKind::kZeros;
  double std = 0;
  double low = 0;
  double high = 0;
};

/// One learned tensor. `value` and `grad` are views into the flat buffers of its ParameterStore.
struct Parameter {
  std::string name;  // as in checkpoints
  Shape shape;
  Decay decay = Decay::kNo;
  Init init;
  Precision precision = Precision::kActivation;
  Tensor value;
  Tensor working;          // the value in the dtype of activations, where ops take such a copy
  Tensor grad;             // dtype of the value
  bool is_frozen = false;  // never recorded: no gradient is formed, no update made
  bool has_grad = false;   // this step's backward passes have written `grad`; before, it is stale
  ZeroBlocks* zeros = nullptr;  // of its group; null without a store
  std::int64_t offset = 0;      // elements before it in its group

  /// What ops are handed.
  const Tensor& used() const { return working.defined() ? working : value; }

  /// The gradient as an accumulation target: whether to add to it or to overwrite it.
  bool claim_grad() {
    if (zeros != nullptr) {
      zeros->forget(offset, offset + shape.numel());
    }
    return claim_sparse_grad();
  }
  /// The same for who writes few elements and answers for `zeros`.
  bool claim_sparse_grad() { return std::exchange(has_grad, true); }
};

/// All parameters of one decay group, contiguous: an optimizer pass or a reduction is one call.
struct ParameterGroup {
  Decay decay = Decay::kNo;
  Tensor values;
  Tensor working;  // a copy in the dtype of activations; undefined where that is the values' own.
                   // That of Precision::kValue is there, so that offsets agree, and unused
  Tensor grads;
  std::unique_ptr<ZeroBlocks> zeros;  // of grads
  std::vector<Parameter*> members;    // in order of their offsets
};

/// Owns a model's parameters. First every module declares its own (nothing is allocated, so a plan
/// can be made); then `materialize` lays them out in one flat buffer a group.
class ParameterStore {
 public:
  /// Throws ghost::Error when the name is taken. The reference stays valid.
  Parameter& declare(std::string name, const Shape& shape, Decay decay, Init init,
                     Precision precision = Precision::kActivation);

  /// Values and gradients are of `dtype`; activations are of `activation_dtype`, for which ops are
  /// handed a working copy of the values where it is another one (see Precision).
  void materialize(const std::shared_ptr<Allocator>& allocator, DType dtype,
                   std::optional<DType> activation_dtype = std::nullopt);
  bool is_materialized() const { return !groups_.empty(); }

  /// Draws every initial value from (seed, index of the parameter, element).
  void initialize(std::uint64_t seed);

  /// After the values were changed by anything but an optimizer: makes the working copies again.
  void refresh_working();

  /// Before the backward passes of a step: every gradient is stale.
  void begin_gradients();
  /// After them: parameters that no backward pass reached get a zero gradient.
  void finish_gradients();

  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  std::vector<ParameterGroup>& groups() { return groups_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  Parameter* find(std::string_view name) const;  // null when there is none
  std::int64_t num_elements() const;

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace ghost
