#include "models/replica_factors.h"

#include "engine/autograd/context.h"

namespace ghost {

bool ReplicaFactors::takes(const Tensor& dweight, const GradientFactors& factors) {
  const std::int64_t replicas = grid_.num_replicas();
  const std::int64_t bytes = factors.left.bytes() + factors.right.bytes();
  if (replicas == 1 || micro_steps_ * replicas * bytes >= 2 * dweight.bytes()) {
    return false;
  }
  summed_.insert(dweight.raw());
  return true;
}

GradientFactors ReplicaFactors::gather(const Context& ctx, const GradientFactors& own) {
  Communicator& comm = grid_.replicas();
  const auto gathered = [&](const Tensor& x) {
    const Tensor all =
        ctx.empty({comm.size() * x.dim(0), x.dim(1)}, x.dtype(), MemoryTag::kSketches);
    grid_.count(MessageKind::kFactors, comm, [&] { comm.all_gather(x, all); });
    return all;
  };
  return {.left = gathered(own.left), .right = gathered(own.right)};
}

}  // namespace ghost
