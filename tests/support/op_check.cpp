#include "tests/support/op_check.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"

namespace ghost::test {
namespace {

constexpr double kStep = 1e-5;
constexpr double kGradientTolerance = 1e-7;

const std::shared_ptr<Allocator>& cpu_allocator() { return shared_allocator(Device{}); }

Tensor cast_to(const Tensor& x, DType dtype) {
  Tensor out(cpu_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

double dot(const Tensor& a, const Tensor& b) {
  const auto x = values_of(a);
  const auto y = values_of(b);
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += x[i] * y[i];
  }
  return sum;
}

struct Run {
  Tape tape;
  Tensors leaves;  // watched inputs, in order; constants as they are
  Tensor output;
};

void record(Run& run, Context& ctx, const OpCase& test_case, DType dtype) {
  for (const OpInput& input : test_case.inputs) {
    const bool is_constant = input.kind == InputKind::kConstant;
    if (!input.value.defined()) {
      run.leaves.emplace_back();
      continue;
    }
    const DType own = input.is_precise ? statistic_dtype(dtype) : dtype;
    const Tensor value = to_device(is_constant ? input.value : cast_to(input.value, own),
                                   ctx.allocator(), input.value.storage()->tag());
    run.leaves.push_back(is_constant ? value : run.tape.watch(value));
  }
  const Context::Recording recording(ctx, &run.tape);
  ctx.begin_pass(/*seed=*/7, /*step=*/0);
  run.output = test_case.run(ctx, run.leaves);
}

Tensors pull_back(Run& run, Context& ctx, const OpCase& test_case, const Tensor& cotangent,
                  bool with_weights) {
  Tensors inputs;
  for (std::size_t i = 0; i < test_case.inputs.size(); ++i) {
    const InputKind kind = test_case.inputs[i].kind;
    if (run.leaves[i].defined() &&
        (kind == InputKind::kActivation || (with_weights && kind == InputKind::kWeight))) {
      inputs.push_back(run.leaves[i]);
    }
  }
  return inputs.empty()
             ? Tensors{}
             : run.tape.vjp(ctx, std::span(&run.output, 1), std::span(&cotangent, 1), inputs);
}

double loss_at(const OpCase& test_case, const Tensors& inputs, const Tensor& cotangent) {
  Context ctx(cpu_allocator());
  ctx.begin_pass(/*seed=*/7, /*step=*/0);
  return dot(test_case.run(ctx, inputs), cotangent);
}

// d(dot(run(inputs), cotangent)) / d(inputs[which]) by central differences.
Tensor finite_differences(const OpCase& test_case, std::size_t which, const Tensor& cotangent) {
  Tensors inputs;
  for (const OpInput& input : test_case.inputs) {
    inputs.push_back(input.value.defined() && input.kind != InputKind::kConstant
                         ? cast_to(input.value, DType::kF64)
                         : input.value);
  }
  Tensor gradient(cpu_allocator(), inputs[which].shape(), DType::kF64, MemoryTag::kWorkspace);
  double* x = inputs[which].data<double>();
  for (std::int64_t i = 0; i < gradient.numel(); ++i) {
    const double centre = x[i];
    x[i] = centre + kStep;
    const double above = loss_at(test_case, inputs, cotangent);
    x[i] = centre - kStep;
    const double below = loss_at(test_case, inputs, cotangent);
    x[i] = centre;
    gradient.data<double>()[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

/// What the CPU computes, for other devices to be compared with.
struct Reference {
  Tensor output;
  Tensor cotangent;
  Tensors gradients;
  Tensor many;  // cotangents [P, ...]
  Tensors together;
};

void check_on_device(const OpCase& test_case, const Device& device, DType dtype, double tolerance,
                     const Reference& expected) {
  INFO("on " << device.name() << " in " << dtype_name(dtype));
  Context ctx(shared_allocator(device));
  Run run;
  record(run, ctx, test_case, dtype);
  CHECK(relative_difference(run.output, expected.output) <= tolerance);
  const auto pull = [&](const Tensor& cotangent, bool with_weights, const Tensors& gradients) {
    const Tensor dy =
        to_device(cast_to(cotangent, run.output.dtype()), ctx.allocator(), MemoryTag::kWorkspace);
    const Tensors got = pull_back(run, ctx, test_case, dy, with_weights);
    for (std::size_t j = 0; j < gradients.size(); ++j) {
      INFO("gradient " << j << " for " << cotangent.dim(0) << " cotangents");
      CHECK(relative_difference(got[j], gradients[j]) <= tolerance);
    }
  };
  pull(expected.cotangent, /*with_weights=*/true, expected.gradients);
  pull(expected.many, /*with_weights=*/false, expected.together);
}

void check_on_devices(const OpCase& test_case, const Reference& expected) {
  if (test_case.has_bf16) {
    check_on_device(test_case, Device{}, DType::kBF16, test_case.bf16_tolerance, expected);
  }
  if (!test_case.has_cuda_twin) {
    return;
  }
  for (const Device& device : cuda_devices()) {
    check_on_device(test_case, device, DType::kF32, std::max(1e-4, test_case.f32_tolerance),
                    expected);
    check_on_device(test_case, device, DType::kBF16, test_case.bf16_tolerance, expected);
  }
}

void check_residuals(const Tape& tape) {
  for (const Node& node : tape.nodes()) {
    std::set<std::string_view> declared;
    for (const ResidualSpec& spec : node.op().residuals()) {
      declared.insert(spec.name);
    }
    std::set<std::string_view> kept;
    for (const Node::KeptFacts& facts : node.kept()) {
      kept.insert(facts.name);
    }
    INFO("residuals of " << node.op().name());
    CHECK(kept == declared);
  }
}

}  // namespace

Tensor normal(const Shape& shape, std::uint64_t seed) {
  Tensor out(cpu_allocator(), shape, DType::kF64, MemoryTag::kWorkspace);
  const RandomStream stream{.seed = seed, .purpose = Purpose::kInit};
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const auto words = stream.words(static_cast<std::uint32_t>(i));
    out.data<double>()[i] = normal_pair(words[0], words[1])[0];
  }
  return out;
}

Tensor integers(const Shape& shape, std::int64_t bound, std::uint64_t seed) {
  Tensor out(cpu_allocator(), shape, DType::kI32, MemoryTag::kBatch);
  const RandomStream stream{.seed = seed, .purpose = Purpose::kBatch};
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const std::uint64_t word = stream.words(static_cast<std::uint32_t>(i))[0];
    out.data<std::int32_t>()[i] =
        static_cast<std::int32_t>(word * static_cast<std::uint64_t>(bound) >> 32);
  }
  return out;
}

Tensor tensor_of(const Shape& shape, const std::vector<double>& values) {
  Tensor out(cpu_allocator(), shape, DType::kF64, MemoryTag::kWorkspace);
  REQUIRE(static_cast<std::int64_t>(values.size()) == out.numel());
  std::copy(values.begin(), values.end(), out.data<double>());
  return out;
}

Tensor tokens_of(const Shape& shape, const std::vector<std::int32_t>& values) {
  Tensor out(cpu_allocator(), shape, DType::kI32, MemoryTag::kBatch);
  REQUIRE(static_cast<std::int64_t>(values.size()) == out.numel());
  std::copy(values.begin(), values.end(), out.data<std::int32_t>());
  return out;
}

std::vector<double> values_of(const Tensor& x) {
  const Tensor host = on_host(x);
  return visit_floating(x.dtype(), [&]<typename T>() {
    std::vector<double> out;
    for (const T value : host.span<T>()) {
      out.push_back(to_double(value));
    }
    return out;
  });
}

double relative_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.numel() == b.numel());
  const auto x = values_of(a);
  const auto y = values_of(b);
  double difference = 0;
  double scale = 1;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) || std::isnan(y[i])) {
      return std::nan("");
    }
    difference = std::max(difference, std::abs(x[i] - y[i]));
    scale = std::max(scale, std::abs(y[i]));
  }
  return difference / scale;
}

void check_op(const OpCase& test_case) {
  Context ctx(cpu_allocator());
  Run exact;
  record(exact, ctx, test_case, DType::kF64);
  check_residuals(exact.tape);

  const Shape& shape = exact.output.shape();
  const Tensor cotangent = normal(shape.with_first(1), /*seed=*/101);
  const Tensors gradients = pull_back(exact, ctx, test_case, cotangent, /*with_weights=*/true);

  std::size_t at = 0;
  for (std::size_t i = 0; i < test_case.inputs.size(); ++i) {
    if (!exact.leaves[i].defined() || test_case.inputs[i].kind == InputKind::kConstant) {
      continue;
    }
    INFO("input " << i << " of shape " << exact.leaves[i].shape().text());
    CHECK(relative_difference(gradients[at], finite_differences(test_case, i, cotangent)) <=
          kGradientTolerance);
    ++at;
  }

  // Three cotangents share one set of residuals.
  constexpr std::int64_t kBasis = 3;
  const Tensor many = normal(shape.with_first(kBasis), /*seed=*/102);
  const Tensors together = pull_back(exact, ctx, test_case, many, /*with_weights=*/false);
  for (std::int64_t p = 0; p < kBasis; ++p) {
    const Tensors alone =
        pull_back(exact, ctx, test_case, many.slice(p, p + 1), /*with_weights=*/false);
    for (std::size_t j = 0; j < alone.size(); ++j) {
      INFO("cotangent " << p << " of " << kBasis << ", activation " << j);
      CHECK(relative_difference(together[j].slice(p, p + 1), alone[j]) <= 1e-12);
    }
  }

  // The f32 path against the f64 one.
  Run single;
  record(single, ctx, test_case, DType::kF32);
  CHECK(relative_difference(single.output, exact.output) <= test_case.f32_tolerance);
  const Tensors single_gradients =
      pull_back(single, ctx, test_case, cast_to(cotangent, DType::kF32), /*with_weights=*/true);
  for (std::size_t j = 0; j < gradients.size(); ++j) {
    INFO("f32 gradient " << j);
    CHECK(relative_difference(single_gradients[j], gradients[j]) <= test_case.f32_tolerance);
  }

  check_on_devices(test_case, {.output = single.output,
                               .cotangent = cotangent,
                               .gradients = single_gradients,
                               .many = many,
                               .together = together});
}

void check_twins(const OpCase& test_case) {
  Context ctx(cpu_allocator());
  Run run;
  record(run, ctx, test_case, DType::kF32);
  Reference expected{.output = run.output,
                     .cotangent = normal(run.output.shape().with_first(1), /*seed=*/101),
                     .many = normal(run.output.shape().with_first(3), /*seed=*/102)};
  const auto pull = [&](const Tensor& cotangent, bool with_weights) {
    return pull_back(run, ctx, test_case, cast_to(cotangent, DType::kF32), with_weights);
  };
  expected.gradients = pull(expected.cotangent, /*with_weights=*/true);
  expected.together = pull(expected.many, /*with_weights=*/false);
  check_on_devices(test_case, expected);
}

}  // namespace ghost::test
