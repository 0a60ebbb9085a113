#include "models/grid_reductions.h"

#include <utility>
#include <vector>

namespace ghost {
namespace {

/// Runs of neighbours in a group whose gradients are still each rank's own, [begin, end) in
/// elements.
std::vector<std::pair<std::int64_t, std::int64_t>> unsummed(const ParameterGroup& group,
                                                            const ReplicaFactors* factors) {
  std::vector<std::pair<std::int64_t, std::int64_t>> runs;
  std::int64_t begin = 0;
  for (const Parameter* parameter : group.members) {
    if (factors != nullptr && factors->has_summed(*parameter)) {
      runs.emplace_back(begin, parameter->offset);
      begin = parameter->offset + parameter->shape.numel();
    }
  }
  runs.emplace_back(begin, group.grads.numel());
  std::erase_if(runs, [](const auto& run) { return run.first == run.second; });
  return runs;
}

}  // namespace

void sum_gradients(RankGrid& grid, ParameterStore& store, const ReplicaFactors* factors) {
  Communicator& comm = grid.replicas();
  if (comm.size() == 1) {
    return;
  }
  for (ParameterGroup& group : store.groups()) {
    for (const auto& [begin, end] : unsummed(group, factors)) {
      const Tensor grads = group.grads.slice(begin, end);
      grid.count(MessageKind::kGradients, comm, [&] { comm.all_reduce(grads); });
    }
    group.zeros->forget(0, group.grads.numel());
  }
}

Tensor all_losses(Context& ctx, RankGrid& grid, const Tensor& losses) {
  Communicator& comm = grid.replicas();
  if (comm.size() == 1) {
    return losses;
  }
  const Tensor all = ctx.empty({comm.size() * losses.numel()}, losses.dtype());
  grid.count(MessageKind::kLoss, comm, [&] { comm.all_gather(losses, all); });
  return all;
}

StepNumbers step_numbers(const Context& ctx, RankGrid& grid, const ParameterStore& store,
                         const Tensor& losses, double max_norm) {
  Communicator& comm = grid.small();
  if (comm.size() == 1) {
    return step_numbers(ctx, store, losses, max_norm);
  }
  return step_numbers(ctx, store, losses, max_norm, [&](const Tensor& sum) {
    grid.count(MessageKind::kNorm, comm, [&] { comm.all_reduce(sum); });
  });
}

}  // namespace ghost
