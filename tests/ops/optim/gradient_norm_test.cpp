#include "ops/optim/gradient_norm.h"

#include <cmath>
#include <limits>
#include <omp.h>

#include "engine/tensor/primitives.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::SmallStore;

double gradient_norm(const Context& ctx, const ParameterStore& store) {
  return item(step_numbers(ctx, store, test::tensor_of({1}, {1}), /*max_norm=*/0).norm());
}

TEST_CASE("gradient_norm is the norm over all groups", "[optim]") {
  Context ctx(Device{});
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const std::int64_t size : {1, 33, 4096, 4097, 50001}) {
      SmallStore small(ctx, dtype, size);
      small.draw_gradients(3);
      double sum_sq = 0;
      for (const auto& parameter : small.store.all()) {
        for (const double g : test::values_of(parameter->grad)) {
          sum_sq += g * g;
        }
      }
      CHECK(gradient_norm(ctx, small.store) == Approx(std::sqrt(sum_sq)).epsilon(1e-12));
    }
  }
}

TEST_CASE("gradient_norm takes what other processes add", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF64, 33);
  small.draw_gradients(3);
  const double own = gradient_norm(ctx, small.store);
  const StepNumbers numbers = step_numbers(ctx, small.store, test::tensor_of({1}, {1}),
                                           /*max_norm=*/0, [&](const Tensor& sum) {
                                             CHECK(item(sum) == Approx(own * own).epsilon(1e-14));
                                             sum.data<double>()[0] += 7;
                                           });
  CHECK(item(numbers.norm()) == Approx(std::sqrt(own * own + 7)).epsilon(1e-14));
}

TEST_CASE("gradient_norm is the same for any number of threads", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 123457);
  small.draw_gradients(4);
  const int num_threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const double alone = gradient_norm(ctx, small.store);
  for (const int threads : {2, 3, 5}) {
    omp_set_num_threads(threads);
    CHECK(gradient_norm(ctx, small.store) == alone);
  }
  omp_set_num_threads(num_threads);
}

TEST_CASE("gradient_norm is not finite when a gradient is not", "[optim]") {
  Context ctx(Device{});
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    SmallStore small(ctx, DType::kF32, 100);
    small.draw_gradients(5);
    small.store.find("bias")->grad.data<float>()[2] = bad;
    CHECK_FALSE(std::isfinite(gradient_norm(ctx, small.store)));
  }
}

TEST_CASE("gradient_norm of large f32 gradients does not overflow", "[optim]") {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {2}, Decay::kNo, {});
  store.materialize(ctx.allocator(), DType::kF32);
  p.grad.data<float>()[0] = 3e30F;
  p.grad.data<float>()[1] = 4e30F;
  CHECK(gradient_norm(ctx, store) == Approx(5e30));
}

TEST_CASE("gradient_norm is 0 on a dry device", "[optim]") {
  Context ctx(Device{.is_dry = true});
  ParameterStore store;
  store.declare("p", {2}, Decay::kNo, {});
  store.materialize(ctx.allocator(), DType::kF32);
  CHECK(gradient_norm(ctx, store) == 0);
}

double clip_factor(double norm, double max_norm) {
  Context ctx(Device{});
  ParameterStore store;
  Parameter& p = store.declare("p", {1}, Decay::kNo, {});
  store.materialize(ctx.allocator(), DType::kF64);
  fill(p.grad, norm);
  return item(step_numbers(ctx, store, test::tensor_of({1}, {1}), max_norm).factor());
}

TEST_CASE("the factor of a step limits the norm", "[optim]") {
  CHECK(clip_factor(0.5, 1.0) == 1.0);
  CHECK(clip_factor(0, 1.0) == 1.0);
  CHECK(clip_factor(4.0, 1.0) == 1.0 / (4.0 + 1e-6));
  CHECK(clip_factor(1.0, 1.0) == 1.0 / (1.0 + 1e-6));  // as PyTorch: just below 1
  CHECK(clip_factor(1e9, 0) == 1.0);
}

TEST_CASE("the factor of a step is NaN where loss or norm is not finite", "[optim]") {
  CHECK(std::isnan(clip_factor(std::numeric_limits<double>::infinity(), 1.0)));
  CHECK(std::isnan(clip_factor(std::numeric_limits<double>::infinity(), 0)));
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 100);
  small.draw_gradients(5);
  const StepNumbers numbers =
      step_numbers(ctx, small.store, test::tensor_of({2}, {1, std::nan("")}), 1.0);
  CHECK(std::isnan(item(numbers.factor())));
  CHECK(std::isfinite(item(numbers.norm())));
}

TEST_CASE("the loss of a step is the mean of its micro-steps", "[optim]") {
  Context ctx(Device{});
  SmallStore small(ctx, DType::kF32, 100);
  small.draw_gradients(5);
  CHECK(item(step_numbers(ctx, small.store, test::tensor_of({3}, {1, 2, 6}), 1.0).loss()) == 3);
}

}  // namespace
}  // namespace ghost
