#pragma once

#include "engine/autograd/context.h"
#include "models/replica_factors.h"
#include "ops/optim/gradient_norm.h"

namespace ghost {

/// Sums the gradients of the parameters that are here over the replicas, neighbours in a group by
/// one call; without those that `factors` has summed. They must be complete
/// (ParameterStore::finish_gradients).
void sum_gradients(RankGrid& grid, ParameterStore& store, const ReplicaFactors* factors = nullptr);

/// Losses [M] of this replica's micro-steps and those of all others, [D M] in order of replicas.
Tensor all_losses(Context& ctx, RankGrid& grid, const Tensor& losses);

/// step_numbers of losses and gradients of the whole grid: after `sum_gradients`, with losses of
/// all replicas. Every parameter counts once; all ranks get the same bits.
StepNumbers step_numbers(const Context& ctx, RankGrid& grid, const ParameterStore& store,
                         const Tensor& losses, double max_norm);

}  // namespace ghost
