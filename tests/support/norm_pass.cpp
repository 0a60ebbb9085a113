#include "tests/support/norm_pass.h"

#include <algorithm>
#include <cmath>

#include "tests/support/op_check.h"

namespace ghost::test {

NormPass pass_norm(const Norm& norm, const Tensor& x, const Tensors& weights, Keep keep,
                   std::int64_t basis) {
  Context ctx(x.storage()->shared_allocator());
  Tape tape(ResidualPlan({.rules = {{.role = "norm_input", .keep = keep}}}));
  const Context::Recording recording(ctx, &tape);
  const Tensor leaf = tape.watch(x);
  Tensors watched;
  for (const Tensor& weight : weights) {
    watched.push_back(tape.watch(weight));
  }
  const Tensor y = norm(ctx, leaf, watched);
  const Node& node = tape.nodes().back();
  NormPass out;
  for (const Node::KeptFacts& facts : node.kept()) {
    out.residual_bytes += facts.role == Role::kParameter ? 0 : facts.bytes;
  }
  out.again = values_of(node.op().recompute(ctx, node));
  const Tensor dy = normal(y.shape().with_first(basis), 4);
  out.dx = values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&leaf, 1))[0]);
  if (basis == 1) {
    for (const Tensor& gradient :
         tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(watched))) {
      const auto values = values_of(gradient);
      out.dweights.insert(out.dweights.end(), values.begin(), values.end());
    }
  }
  return out;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double out = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out = std::max(out, std::abs(a[i] - b[i]));
  }
  return out;
}

}  // namespace ghost::test
