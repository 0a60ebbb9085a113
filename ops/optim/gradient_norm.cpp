#include "ops/optim/gradient_norm.h"

#include "engine/comm/rank_sum.h"
#include "ops/optim/optim_kernels.h"

namespace ghost {
namespace {

// The only lines of this file that know there is more than one backend.
void launch(const Context& ctx, const SumOfSquares& args) {
  dispatch(
      ctx, [&] { cpu::sum_of_squares(args); }, [&] { cuda::sum_of_squares(args); });
}
void launch(const Context& ctx, const StepNumbersArgs& args) {
  dispatch(
      ctx, [&] { cpu::step_numbers(args); }, [&] { cuda::step_numbers(args); });
}

}  // namespace

StepNumbers step_numbers(const Context& ctx, const ParameterStore& store, const Tensor& losses,
                         double max_norm, const SumOverRanks& over_ranks) {
  const auto num_groups = static_cast<std::int64_t>(store.groups().size());
  Tensor sums = ctx.empty({num_groups}, DType::kF64);
  const Tensor partial =
      ctx.device().is_cuda() ? ctx.empty({kSumOfSquaresBlocks}, DType::kF64) : Tensor{};
  for (std::int64_t i = 0; i < num_groups; ++i) {
    const ParameterGroup& group = store.groups()[static_cast<std::size_t>(i)];
    launch(ctx, SumOfSquares{.x = group.grads,
                             .zeros = group.zeros.get(),
                             .partial = partial,
                             .sum = sums.slice(i, i + 1)});
  }
  if (over_ranks) {
    const Tensor total = ctx.empty({1}, DType::kF64);
    sum_in_rank_order(sums.reshape({num_groups, 1}), total);
    over_ranks(total);
    sums = total;
  }
  const Tensor numbers = ctx.empty({3}, DType::kF64);
  launch(ctx,
         StepNumbersArgs{.losses = losses, .sums = sums, .max_norm = max_norm, .numbers = numbers});
  return {numbers};
}

}  // namespace ghost
