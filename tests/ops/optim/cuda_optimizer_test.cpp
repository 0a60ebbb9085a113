#include <cmath>
#include <limits>

#include "ops/optim/gradient_norm.h"
#include "ops/optim/optimizer.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::SmallStore;
using test::values_of;

constexpr std::int64_t kSizes[] = {1, 33, 257, 4096, 123457};

// The bias learns at a rate of its own, so that updates begin and end inside of wide accesses.
OptimizerConfig config_of(OptimizerKind kind, double momentum) {
  return {.kind = kind,
          .weight_decay = 0.1,
          .momentum = momentum,
          .nesterov = momentum > 0,
          .lr_scales = {{.parameter = "bias", .scale = 0.5}}};
}

void check_optimizer(const OptimizerConfig& config, const Device& device, std::int64_t size) {
  Context ctx(Device{});
  Context there(test::shared_allocator(device));
  SmallStore expected(ctx, DType::kF32, size);
  SmallStore got(there, DType::kF32, size, DType::kBF16);
  CHECK(values_of(got.store.groups()[0].values) == values_of(expected.store.groups()[0].values));
  const auto expected_optimizer = make_optimizer(config, ctx, expected.store);
  const auto optimizer = make_optimizer(config, there, got.store);
  for (std::int64_t step = 1; step <= 5; ++step) {
    expected.draw_gradients(static_cast<std::uint64_t>(step));
    got.draw_gradients(static_cast<std::uint64_t>(step));
    const Tensor losses = test::tensor_of({2}, {1, 2});
    const StepNumbers numbers = step_numbers(ctx, expected.store, losses, 1.0);
    const StepNumbers numbers_there = step_numbers(
        there, got.store, to_device(losses, there.allocator(), MemoryTag::kBatch), 1.0);
    CHECK(item(numbers_there.loss()) == 1.5);
    CHECK(item(numbers_there.norm()) == Approx(item(numbers.norm())).epsilon(1e-12));
    CHECK(item(numbers_there.factor()) == Approx(item(numbers.factor())).epsilon(1e-12));
    expected_optimizer->step(ctx, expected.store,
                             {.lr = 0.01, .grad_scale = numbers.factor(), .step = step});
    optimizer->step(there, got.store,
                    {.lr = 0.01, .grad_scale = numbers_there.factor(), .step = step});
  }
  for (const char* name : {"weight", "bias"}) {
    const Parameter& parameter = *got.store.find(name);
    CHECK(test::relative_difference(parameter.value, expected.store.find(name)->value) <= 1e-6);
    const Tensor rounded = there.empty(parameter.shape, DType::kBF16);
    cast(rounded, parameter.value);
    CHECK(values_of(parameter.used()) == values_of(rounded));
  }
}

TEST_CASE("optimizers on a GPU are those of the CPU", "[optim][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const std::int64_t size : kSizes) {
      INFO(device.name() << ", " << size << " elements");
      check_optimizer(config_of(OptimizerKind::kAdamW, 0), device, size);
      check_optimizer(config_of(OptimizerKind::kSgd, 0), device, size);
      check_optimizer(config_of(OptimizerKind::kSgd, 0.9), device, size);
    }
  }
}

TEST_CASE("a factor of NaN changes nothing on a GPU", "[optim][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    Context ctx(test::shared_allocator(device));
    for (const OptimizerKind kind : {OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
      SmallStore small(ctx, DType::kF32, 257, DType::kBF16);
      const auto optimizer = make_optimizer(config_of(kind, 0.9), ctx, small.store);
      small.draw_gradients(1);
      fill(small.store.find("bias")->grad, std::numeric_limits<double>::infinity());
      const Tensor losses =
          to_device(test::tensor_of({1}, {1}), ctx.allocator(), MemoryTag::kBatch);
      const StepNumbers numbers = step_numbers(ctx, small.store, losses, 0);
      CHECK(std::isnan(item(numbers.factor())));
      const auto before = values_of(small.store.groups()[0].values);
      const auto working = values_of(small.store.groups()[0].working);
      optimizer->step(ctx, small.store, {.lr = 1, .grad_scale = numbers.factor(), .step = 1});
      CHECK(values_of(small.store.groups()[0].values) == before);
      CHECK(values_of(small.store.groups()[0].working) == working);
    }
  }
}

}  // namespace
}  // namespace ghost
