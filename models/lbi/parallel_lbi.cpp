#include "models/lbi/parallel_lbi.h"

#include "engine/config/check_range.h"
#include "models/lbi/grid_pass.h"
#include "models/lbi/pass_loss.h"

namespace ghost {
namespace {

/// Ranks below the last, from there on, of which every region hands its adjoint on.
int num_serial_ranks(const RegionsConfig& config, std::size_t num_regions, int num_ranks) {
  switch (config.backward) {
    case RegionsBackward::kTape:
    case RegionsBackward::kScan:
      return 0;
    case RegionsBackward::kSerialAdjoint:
      return num_ranks - 1;
    case RegionsBackward::kHybrid:
      break;
  }
  const auto num_serial = static_cast<std::size_t>(
      config.serial_regions.value_or(static_cast<std::int64_t>(num_regions)));
  int count = 0;
  for (int rank = 0; rank < num_ranks - 1; ++rank) {
    const bool is_serial =
        regions_of_rank(num_regions, rank, num_ranks).begin + 1 + num_serial >= num_regions;
    count += is_serial ? 1 : 0;
  }
  return count;
}

const LbiModel& checked(const LbiModel& model, const RankGrid& grid) {
  validate_region_ranks(model.config(), static_cast<std::int64_t>(model.regions().size()),
                        grid.num_region_ranks());
  return model;
}

[[noreturn]] void refuse_text() {
  fail(
      "a model whose regions are spread over ranks makes no text; expected parallel.region_ranks "
      "1 for logits and generation");
}

}  // namespace

void validate_region_ranks(const RegionsConfig& config, std::int64_t num_regions,
                           std::int64_t region_ranks) {
  check_range(region_ranks <= num_regions, "parallel.region_ranks", region_ranks,
              fmt::format("at most the {} regions of the model", num_regions));
  if (region_ranks == 1) {
    return;
  }
  const std::string where = fmt::format("where parallel.region_ranks is {}", region_ranks);
  check_range(config.backward != RegionsBackward::kTape, "model.regions.backward", config.backward,
              "scan, serial_adjoint or hybrid " + where);
  check_range(config.ablation == StateAblation::kNone, "model.regions.ablation", config.ablation,
              "none " + where);
}

ParallelLbi::ParallelLbi(std::unique_ptr<LbiModel> model, RankGrid& grid)
    : model_(std::move(model)),
      num_ranks_(grid.num_region_ranks()),
      messages_(grid, num_serial_ranks(checked(*model_, grid).config(), model_->regions().size(),
                                       num_ranks_)),
      own_(regions_of_rank(model_->regions().size(), grid.region_rank(), num_ranks_)) {}

int ParallelLbi::owner(const Parameter& parameter) const {
  const auto region = static_cast<std::size_t>(model_->region_of(parameter));
  int rank = 0;
  while (regions_of_rank(model_->regions().size(), rank, num_ranks_).end <= region) {
    ++rank;
  }
  return rank;
}

Tensor ParallelLbi::loss(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  Tape* tape = ctx.tape();
  if (tape == nullptr) {
    return evaluate(ctx, tokens, targets);
  }
  auto pass = std::make_shared<GridPass>(*model_, messages_, own_, tape->plan());
  return ctx.apply<PassLoss<GridPass>>({tape->watch(tokens), targets}, std::move(pass),
                                       &last_backward_);
}

Tensor ParallelLbi::evaluate(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  const Slots slots = training_slots(model_->config(), tokens.dim(1));
  const DType dtype = canvas_dtype(*model_, own_);
  const Tensor canvas =
      messages_.canvas(ctx, {tokens.dim(0), tokens.dim(1), model_->parts().channels()}, dtype,
                       [&] { return model_->parts().embed(ctx, tokens, /*start=*/0); });
  Tensor state = messages_.state(ctx, {tokens.dim(0), slots.size(), model_->config().state_dim},
                                 statistic_dtype(dtype),
                                 [&] { return model_->initial_state(ctx, canvas, slots); });
  Tensor features;
  for (std::size_t k = own_.begin; k < own_.end; ++k) {
    const Region& region = model_->regions()[k];
    features = region.features(ctx, canvas, state, slots);
    if (k + 1 < model_->regions().size()) {
      state = region.next_state(ctx, state, features, slots);
    }
  }
  Tensor loss;
  if (messages_.is_last()) {
    loss = model_->parts().readout_loss(ctx, features,
                                        scored_targets(ctx, targets, slots.first_scored));
  } else {
    messages_.send_state(state);
    loss = ctx.empty({1}, statistic_dtype(dtype));
  }
  messages_.share_loss(loss);
  return loss;
}

Tensor ParallelLbi::logits(Context& /*ctx*/, const Tensor& /*tokens*/) { refuse_text(); }

GenerationState ParallelLbi::start(Context& /*ctx*/, std::int64_t /*batch*/,
                                   std::int64_t /*max_length*/) {
  refuse_text();
}

Tensor ParallelLbi::step(Context& /*ctx*/, const Tensor& /*tokens*/, GenerationState& /*state*/) {
  refuse_text();
}

}  // namespace ghost
