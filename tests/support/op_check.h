#pragma once

#include <functional>
#include <vector>

#include "engine/autograd/context.h"

namespace ghost::test {

/// Normal(0, 1) values in f64 on the CPU, a function of shape and seed.
Tensor normal(const Shape& shape, std::uint64_t seed);
/// Integers in [0, bound) as i32.
Tensor integers(const Shape& shape, std::int64_t bound, std::uint64_t seed);
/// A tensor with the given values.
Tensor tensor_of(const Shape& shape, const std::vector<double>& values);
Tensor tokens_of(const Shape& shape, const std::vector<std::int32_t>& values);
/// All elements of a floating tensor, wherever it lies.
std::vector<double> values_of(const Tensor& x);

/// Largest |a - b| / max(1, |b|_max).
double relative_difference(const Tensor& a, const Tensor& b);

enum class InputKind {
  kActivation,  // has cotangents with a basis dimension
  kWeight,      // has a gradient for P = 1 only
  kConstant,    // indices and the like
};

struct OpInput {
  Tensor value;  // f64, or i32 for constants
  InputKind kind = InputKind::kActivation;
  bool is_precise = false;  // f32 where activations are bf16
};

struct OpCase {
  std::vector<OpInput> inputs;
  std::function<Tensor(Context&, const Tensors&)> run;
  double f32_tolerance = 1e-4;
  double bf16_tolerance = 3e-2;  // of any device in bf16 against the CPU in f32
  bool has_cuda_twin = true;     // whether GPUs are compared with the CPU
  bool has_bf16 = true;          // whether the CPU takes bf16
};

/// The op contract: in f64 the pullback of a random cotangent agrees with central differences
/// (step 1e-5) to a relative error of 1e-7 for every input; f32 agrees with f64; three cotangents
/// at once give what three single ones give; every kept residual is declared and every declared
/// one is kept. bf16, and on every CUDA device present f32 and bf16, agree with the CPU's f32.
/// Fails the running test otherwise.
void check_op(const OpCase& test_case);

/// Of these, the agreement of every CUDA device present with the CPU's f32 alone: for sizes at
/// which central differences take too long.
void check_twins(const OpCase& test_case);

}  // namespace ghost::test
