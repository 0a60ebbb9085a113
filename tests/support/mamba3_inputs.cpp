#include "tests/support/mamba3_inputs.h"

#include <cmath>

#include "engine/tensor/primitives.h"
#include "tests/support/op_check.h"

namespace ghost::test {
namespace {

// Positive numbers around `centre`.
Tensor positive(const Shape& shape, std::uint64_t seed, double centre) {
  Tensor out = normal(shape, seed);
  for (double& value : out.span<double>()) {
    value = centre * std::exp(0.5 * value);
  }
  return out;
}

}  // namespace

Mamba3State random_state(const Mamba3Sizes& n, std::uint64_t seed) {
  return {.angle = positive({n.batch, n.heads, n.angles}, seed, 1.5),
          .ssm = normal({n.batch, n.heads, n.head_dim, n.state}, seed + 1),
          .k = normal({n.batch, n.ranks, n.heads, n.state}, seed + 2),
          .v = normal({n.batch, n.heads, n.head_dim}, seed + 3)};
}

Mamba3CoreInput random_input(const Mamba3Sizes& n) {
  const Shape scalars{n.batch, n.seq_len, n.heads};
  Mamba3CoreInput in{.q = normal({n.batch, n.seq_len, n.ranks, n.groups, n.state}, 1),
                     .k = normal({n.batch, n.seq_len, n.ranks, n.groups, n.state}, 2),
                     .v = normal({n.batch, n.seq_len, n.heads, n.head_dim}, 3),
                     .a = positive(scalars, 4, 0.2),
                     .dt = positive(scalars, 5, 0.3),
                     .trap = normal(scalars, 6),
                     .angle = normal({n.batch, n.seq_len, n.angles}, 7),
                     .q_bias = normal({n.heads, n.ranks, n.state}, 8),
                     .k_bias = normal({n.heads, n.ranks, n.state}, 9),
                     .d = normal({n.heads}, 10)};
  if (n.ranks > 1) {
    in.mimo_x = normal({n.heads, n.ranks, n.head_dim}, 11);
  }
  scale(in.a, -1);
  return in;
}

Mamba3CoreInput from_list(const Tensors& in) {
  return {.q = in[0],
          .k = in[1],
          .v = in[2],
          .a = in[3],
          .dt = in[4],
          .trap = in[5],
          .angle = in[6],
          .q_bias = in[7],
          .k_bias = in[8],
          .d = in[9],
          .mimo_x = in[10],
          .initial = {.angle = in[11], .ssm = in[12], .k = in[13], .v = in[14]}};
}

std::vector<OpInput> to_list(const Mamba3CoreInput& in) {
  return {{in.q},
          {in.k},
          {in.v},
          {.value = in.a, .is_precise = true},
          {.value = in.dt, .is_precise = true},
          {in.trap},
          {in.angle},
          {in.q_bias, InputKind::kWeight, /*is_precise=*/true},
          {in.k_bias, InputKind::kWeight, /*is_precise=*/true},
          {in.d, InputKind::kWeight, /*is_precise=*/true},
          {in.mimo_x, InputKind::kWeight},
          {.value = in.initial.angle, .is_precise = true},
          {.value = in.initial.ssm, .is_precise = true},
          {.value = in.initial.k, .is_precise = true},
          {.value = in.initial.v, .is_precise = true}};
}

}  // namespace ghost::test
