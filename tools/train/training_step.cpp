#include "tools/train/training_step.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/tensor/primitives.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/nonfinite.h"

namespace ghost {
namespace {

const std::string kStorePrefix = "store.";

std::optional<std::int64_t> first_nonfinite_element(const Tensor& x) {
  if (!is_floating(x.dtype()) || x.dtype() == DType::kBF16) {
    return std::nullopt;
  }
  return visit_real(x.dtype(), [&]<typename T>() -> std::optional<std::int64_t> {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      if (!std::isfinite(x.data<T>()[i])) {
        return i;
      }
    }
    return std::nullopt;
  });
}

}  // namespace

TrainingStep::TrainingStep(const Config& config, LanguageModel& model, const Device& device)
    : config_(config),
      model_(model),
      ctx_(device),
      state_store_(ctx_.allocator()),
      tape_(ResidualPlan(config.residuals)) {
  ParameterStore& parameters = model_.parameters();
  parameters.materialize(ctx_.allocator(), dtype_of(config.train.dtype));
  parameters.initialize(static_cast<std::uint64_t>(config.train.seed));
  optimizer_ = make_optimizer(config.optimizer, ctx_, parameters);
  const Shape shape{config.train.batch_size, config.train.seq_len};
  inputs_ = ctx_.empty(shape, DType::kI32, MemoryTag::kBatch);
  targets_ = ctx_.empty(shape, DType::kI32, MemoryTag::kBatch);
  ctx_.set_row_labels({.tokens = inputs_, .targets = targets_});
  ctx_.attach_state_store(&state_store_);
}

std::vector<NamedTensor> TrainingStep::state() const {
  std::vector<NamedTensor> out = optimizer_->state();
  for (const auto& [name, tensor] : state_store_.all()) {
    out.push_back({kStorePrefix + name, tensor});
  }
  return out;
}

void TrainingStep::expect_state(std::span<const std::pair<std::string, Shape>> stored) {
  for (const auto& [name, shape] : stored) {
    if (name.starts_with(kStorePrefix)) {
      state_store_.get(name.substr(kStorePrefix.size()), shape);
    }
  }
}

void TrainingStep::load_batch(const FillBatch& fill, std::int64_t micro_step) {
  if (!ctx_.device().is_dry()) {
    fill(micro_step, inputs_.span<std::int32_t>(), targets_.span<std::int32_t>());
  }
}

double TrainingStep::accumulate_gradients(std::int64_t step, const FillBatch& fill) {
  const std::int64_t micro_steps = config_.train.micro_steps;
  double loss_sum = 0;
  model_.parameters().begin_gradients();
  for (std::int64_t micro_step = 0; micro_step < micro_steps; ++micro_step) {
    load_batch(fill, micro_step);
    ctx_.begin_pass(static_cast<std::uint64_t>(config_.train.seed), step, micro_step);
    tape_.clear();
    const Context::Recording recording(ctx_, &tape_);
    const Tensor loss = model_.loss(ctx_, inputs_, targets_);
    loss_sum += item(loss);
    tape_.backward(ctx_, loss, /*seed=*/1.0 / static_cast<double>(micro_steps));
  }
  model_.parameters().finish_gradients();
  return loss_sum / static_cast<double>(micro_steps);
}

StepFacts TrainingStep::run(std::int64_t step, const FillBatch& fill) {
  ctx_.set_training(true);
  StepFacts facts;
  const double last = std::max<double>(1, static_cast<double>(config_.train.steps - 1));
  tape_.set_progress(static_cast<double>(step) / last);
  if (tape_.plan().has_sketches()) {
    facts.sketch_rank =
        sketch_rank(tape_.plan().config().sketch, config_.train.batch_size * config_.train.seq_len,
                    tape_.plan().progress());
  }
  facts.loss = accumulate_gradients(step, fill);
  facts.grad_norm = gradient_norm(ctx_, model_.parameters());
  facts.lr = learning_rate(config_.schedule, step, config_.train.steps);
  facts.is_finite = std::isfinite(facts.loss) && std::isfinite(facts.grad_norm);
  if (!facts.is_finite) {
    facts.is_skipped = config_.train.on_nonfinite == OnNonfinite::kSkip;
    return facts;
  }
  optimizer_->step(ctx_, model_.parameters(),
                   {.lr = facts.lr,
                    .grad_scale = clip_factor(facts.grad_norm, config_.optimizer.grad_clip),
                    .step = step + 1});
  return facts;
}

double TrainingStep::evaluate(
    const std::function<void(std::span<std::int32_t>, std::span<std::int32_t>)>& fill) {
  ctx_.set_training(false);
  fill(inputs_.span<std::int32_t>(), targets_.span<std::int32_t>());
  return item(model_.loss(ctx_, inputs_, targets_));
}

std::string TrainingStep::describe_nonfinite(std::int64_t step, const FillBatch& fill) {
  if (const auto found = first_nonfinite(model_.parameters(), ParameterPart::kValues)) {
    return fmt::format("parameter {} is {} at element {} before the step", found->parameter,
                       found->value, found->index);
  }
  std::string description;
  ctx_.attach_observer([&](const Op& op, std::string_view module, const Tensors& outputs) {
    for (const Tensor& output : outputs) {
      const auto at = description.empty() ? first_nonfinite_element(output) : std::nullopt;
      if (at.has_value()) {
        description =
            fmt::format("output {} of {} in {} is not finite at element {}", output.shape(),
                        op.name(), module.empty() ? "the model" : module, *at);
      }
    }
  });
  for (std::int64_t micro_step = 0; micro_step < config_.train.micro_steps; ++micro_step) {
    load_batch(fill, micro_step);
    ctx_.begin_pass(static_cast<std::uint64_t>(config_.train.seed), step, micro_step);
    model_.loss(ctx_, inputs_, targets_);
  }
  ctx_.attach_observer(nullptr);
  if (!description.empty()) {
    return description;
  }
  if (const auto found = first_nonfinite(model_.parameters(), ParameterPart::kGrads)) {
    return fmt::format("the gradient of {} is {} at element {}", found->parameter, found->value,
                       found->index);
  }
  return "the norm of all gradients overflows";
}

}  // namespace ghost
