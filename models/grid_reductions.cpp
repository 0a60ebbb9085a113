#include "models/grid_reductions.h"

namespace ghost {

void sum_gradients(RankGrid& grid, ParameterStore& store) {
  Communicator& comm = grid.replicas();
  if (comm.size() == 1) {
    return;
  }
  for (ParameterGroup& group : store.groups()) {
    grid.count(MessageKind::kGradients, comm, [&] { comm.all_reduce(group.grads); });
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
