#include <cmath>
#include <numbers>

#include "engine/tensor/primitives.h"
#include "ops/mamba3_core.h"
#include "tests/support/catch.h"
#include "tests/support/mamba3_inputs.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::Mamba3Sizes;
using test::random_input;

// The formulas of the header in one head, with nothing of the kernels.
std::vector<double> plain_core(const Mamba3CoreInput& in, std::int64_t head,
                               RotaryPairing pairing) {
  const std::int64_t seq_len = in.q.dim(1);
  const std::int64_t ranks = in.q.dim(2);
  const std::int64_t groups = in.q.dim(3);
  const std::int64_t state = in.q.dim(4);
  const std::int64_t heads = in.v.dim(2);
  const std::int64_t head_dim = in.v.dim(3);
  const std::int64_t angles = in.angle.dim(2);
  const std::int64_t group = head * groups / heads;
  std::vector<double> phi(static_cast<std::size_t>(angles));
  const auto turned = [&](const Tensor& rows, const Tensor& bias, std::int64_t t, std::int64_t r) {
    std::vector<double> u;
    for (std::int64_t n = 0; n < state; ++n) {
      u.push_back(rows.data<double>()[((t * ranks + r) * groups + group) * state + n] +
                  bias.data<double>()[(head * ranks + r) * state + n]);
    }
    for (std::int64_t m = 0; m < angles; ++m) {
      const bool is_adjacent = pairing == RotaryPairing::kAdjacent;
      double& u0 = u[static_cast<std::size_t>(is_adjacent ? 2 * m : m)];
      double& u1 = u[static_cast<std::size_t>(is_adjacent ? 2 * m + 1 : m + state / 2)];
      const double angle = phi[static_cast<std::size_t>(m)];
      const double before = u0;
      u0 = before * std::cos(angle) - u1 * std::sin(angle);
      u1 = before * std::sin(angle) + u1 * std::cos(angle);
    }
    return u;
  };
  const auto x = [&](std::int64_t t, std::int64_t r, std::int64_t p) {
    return in.v.data<double>()[(t * heads + head) * head_dim + p] *
           (in.mimo_x.defined() ? in.mimo_x.data<double>()[(head * ranks + r) * head_dim + p] : 1);
  };
  std::vector<double> h(static_cast<std::size_t>(head_dim * state));
  std::vector<std::vector<double>> last;  // k of the token before
  std::vector<double> out;
  for (std::int64_t t = 0; t < seq_len; ++t) {
    const auto scalar = [&](const Tensor& values) {
      return values.data<double>()[t * heads + head];
    };
    const double dt = scalar(in.dt);
    const double lambda = 1 / (1 + std::exp(-scalar(in.trap)));
    for (std::int64_t m = 0; m < angles; ++m) {
      phi[static_cast<std::size_t>(m)] +=
          dt * std::numbers::pi * std::tanh(in.angle.data<double>()[t * angles + m]);
    }
    std::vector<std::vector<double>> k;
    for (std::int64_t r = 0; r < ranks; ++r) {
      k.push_back(turned(in.k, in.k_bias, t, r));
    }
    for (std::int64_t p = 0; p < head_dim; ++p) {
      for (std::int64_t n = 0; n < state; ++n) {
        const auto at = static_cast<std::size_t>(n);
        double past = h[static_cast<std::size_t>(p * state + n)];
        double own = 0;
        for (std::int64_t r = 0; r < ranks; ++r) {
          const auto rank = static_cast<std::size_t>(r);
          past += t > 0 ? (1 - lambda) * dt * x(t - 1, r, p) * last[rank][at] : 0;
          own += lambda * dt * x(t, r, p) * k[rank][at];
        }
        h[static_cast<std::size_t>(p * state + n)] = std::exp(scalar(in.a)) * past + own;
      }
    }
    for (std::int64_t r = 0; r < ranks; ++r) {
      const std::vector<double> q = turned(in.q, in.q_bias, t, r);
      for (std::int64_t p = 0; p < head_dim; ++p) {
        double sum = in.d.data<double>()[head] * x(t, r, p);
        for (std::int64_t n = 0; n < state; ++n) {
          sum += h[static_cast<std::size_t>(p * state + n)] * q[static_cast<std::size_t>(n)];
        }
        out.push_back(sum);
      }
    }
    last = std::move(k);
  }
  return out;
}

TEST_CASE("the Mamba-3 core with ranks equals its definition", "[ops]") {
  Context ctx(Device{});
  for (const std::int64_t ranks : {1, 2, 3, 4}) {
    const Mamba3Sizes n{
        .seq_len = 37, .ranks = ranks, .groups = 2, .heads = 4, .state = 8, .angles = 3};
    const Mamba3CoreInput in = random_input(n);
    for (const RotaryPairing pairing : {RotaryPairing::kAdjacent, RotaryPairing::kHalves}) {
      const Tensor o = mamba3_core(ctx, in, {.chunk = 16, .pairing = pairing}).o;
      for (std::int64_t head = 0; head < n.heads; ++head) {
        const auto expected = plain_core(in, head, pairing);
        double worst = 0;
        for (std::int64_t row = 0; row < n.seq_len * n.ranks; ++row) {
          for (std::int64_t p = 0; p < n.head_dim; ++p) {
            const double value = o.data<double>()[(row * n.heads + head) * n.head_dim + p];
            const double plain = expected[static_cast<std::size_t>(row * n.head_dim + p)];
            worst = std::max(worst, std::abs(value - plain));
          }
        }
        INFO("R = " << ranks << ", head " << head);
        CHECK(worst <= 1e-10);
      }
    }
  }
}

TEST_CASE("the Mamba-3 core in f32 stays with f64 over a long sequence", "[ops]") {
  const Mamba3Sizes n{.seq_len = 2000, .heads = 2, .head_dim = 4, .state = 16, .angles = 4};
  Context ctx(Device{});
  const Mamba3CoreInput in = random_input(n);
  Mamba3CoreInput single = in;
  for (Tensor* x : {&single.q, &single.k, &single.v, &single.a, &single.dt, &single.trap,
                    &single.angle, &single.q_bias, &single.k_bias, &single.d}) {
    const Tensor exact = *x;
    *x = ctx.empty(exact.shape(), DType::kF32);
    cast(*x, exact);
  }
  CHECK(test::relative_difference(mamba3_core(ctx, single).o, mamba3_core(ctx, in).o) <= 2e-5);
}

}  // namespace
}  // namespace ghost
