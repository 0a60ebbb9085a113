#include "tools/train/training_step.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "engine/autograd/resident_parameters.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/grid_reductions.h"
#include "ops/ema_sketch.h"
#include "ops/optim/freeze.h"
#include "ops/optim/nonfinite.h"
#include "ops/rank_controller.h"

namespace ghost {
namespace {

const std::string kStorePrefix = "store.";
const std::string kMonitorPrefix = "monitor.";

BatchLayout layout_of(const Config& config, const Model& model) {
  return model.batch_layout(config.train.batch_size, config.train.seq_len,
                            activation_dtype(config.train.dtype));
}

/// What rows of a batch are: only indices tell.
Context::RowLabels labels_of(const Batch& batch) {
  const auto if_index = [](const Tensor& x) { return is_floating(x.dtype()) ? Tensor{} : x; };
  return {.tokens = if_index(batch.inputs()), .targets = if_index(batch.targets())};
}

}  // namespace

TrainingStep::TrainingStep(const Config& config, Model& model, const Device& device,
                           const Placement& placement)
    : config_(config),
      model_(model),
      placement_(placement),
      ctx_(device),
      state_store_(ctx_.allocator()),
      tape_(ResidualPlan(config.residuals)),
      batch_(ctx_, layout_of(config, model)) {
  ParameterStore& parameters = model_.parameters();
  freeze_parameters(parameters, config.optimizer.freeze);
  materialize_residents(
      parameters, [&](const Parameter& parameter) { return placement_.is_here(parameter); },
      ctx_.allocator(), parameter_dtype(config.train.dtype), activation_dtype(config.train.dtype));
  parameters.initialize(static_cast<std::uint64_t>(config.train.seed));
  optimizer_ = make_optimizer(config.optimizer, ctx_, parameters);
  losses_ = ctx_.empty({config.train.micro_steps},
                       statistic_dtype(activation_dtype(config.train.dtype)), MemoryTag::kBatch);
  ctx_.set_row_labels(labels_of(batch_));
  ctx_.attach_state_store(&state_store_);
  GHOST_CHECK(placement.replicas() == 1 || !tape_.plan().has_ema_sketches(),
              "keep: ema_sketch with {} replicas; expected 1, as sketches are of one batch",
              placement.replicas());
  if (placement.replicas() > 1 && config.parallel.gradients == GradientExchange::kFactors) {
    factors_.emplace(*placement.grid, config.train.micro_steps);
    ctx_.attach_factor_exchange(&*factors_);
  }
  if (config.monitor.has_value()) {
    make_monitor();
    if (config.monitor->exact) {
      GHOST_CHECK(placement.replicas() == 1, "monitor.exact with {} replicas; expected 1",
                  placement.replicas());
      exact_gradients_.emplace(monitor_->modules());
    }
  }
}

void TrainingStep::make_monitor() {
  const bool is_alone = placement_.is_alone();
  RankGrid* grid = placement_.grid;
  monitor_.emplace(ctx_, model_.parameters(),
                   Monitor::Setup{.config = *config_.monitor,
                                  .seed = static_cast<std::uint64_t>(config_.train.seed),
                                  .micro_steps = config_.train.micro_steps,
                                  .replica = is_alone ? 0 : grid->replica(),
                                  .replicas = placement_.replicas(),
                                  .dtype = parameter_dtype(config_.train.dtype),
                                  .sum_over_replicas =
                                      [grid](std::span<double> numbers) {
                                        grid->sum(MessageKind::kControl, grid->replicas(), numbers);
                                      }},
                   [&](Context& dry) {
                     const Batch batch(dry, layout_of(config_, model_));
                     model_.loss(dry, batch.inputs(), batch.targets());
                   });
}

std::vector<NamedTensor> TrainingStep::state() const {
  std::vector<NamedTensor> out = optimizer_->state();
  for (const auto& [name, tensor] : state_store_.all()) {
    out.push_back({kStorePrefix + name, tensor});
  }
  if (monitor_.has_value()) {
    for (NamedTensor& named : monitor_->state()) {
      out.push_back({kMonitorPrefix + named.name, named.tensor});
    }
  }
  return out;
}

std::vector<NamedTensor> TrainingStep::places_for(std::span<const StoredTensor> stored) {
  std::set<std::string_view> stored_names;
  for (const StoredTensor& tensor : stored) {
    stored_names.insert(tensor.name);
    if (tensor.name.starts_with(kStorePrefix) && placement_.regions == nullptr) {
      state_store_.get(tensor.name.substr(kStorePrefix.size()), tensor.shape);
    }
  }
  std::vector<NamedTensor> out;
  for (NamedTensor& named : state()) {
    if (!named.name.starts_with(kMonitorPrefix) || stored_names.contains(named.name)) {
      stored_names.erase(named.name);
      out.push_back(std::move(named));
    }
  }
  for (const std::string_view name : stored_names) {
    if (name.starts_with(kMonitorPrefix) || name.starts_with(kStorePrefix)) {
      out.push_back({std::string(name), Tensor{}});
    }
  }
  return out;
}

void TrainingStep::load_batch(const FillBatch& fill, std::int64_t micro_step) {
  const StepTimer::Part part(ctx_.timer(), "batch");
  batch_.load([&](const HostElements& inputs, const HostElements& targets) {
    fill(micro_step, inputs, targets);
  });
}

Tensor TrainingStep::forward(std::int64_t micro_step, Seen seen) {
  std::optional<ActivationStatistics::Watch> watch;
  if (seen == Seen::kYes) {
    monitor_->watch(watch, ctx_, micro_step);
  }
  return model_.loss(ctx_, batch_.inputs(), batch_.targets());
}

// The loss of a model that is spread over ranks is everywhere only after the backward pass.
void TrainingStep::accumulate_gradients(std::int64_t step, const FillBatch& fill, Tape& tape,
                                        Seen seen) {
  const std::int64_t micro_steps = config_.train.micro_steps;
  const double share = 1.0 / static_cast<double>(micro_steps * placement_.replicas());
  const std::int64_t rank = placement_.is_alone() ? 0 : placement_.grid->world().rank();
  model_.parameters().begin_gradients();
  if (factors_.has_value()) {
    factors_->begin_step();
  }
  for (std::int64_t micro_step = 0; micro_step < micro_steps; ++micro_step) {
    load_batch(fill, micro_step);
    ctx_.begin_pass(static_cast<std::uint64_t>(config_.train.seed), step, micro_step, rank);
    tape.clear();
    const Context::Recording recording(ctx_, &tape);
    const Tensor loss = forward(micro_step, seen);
    tape.backward(ctx_, loss, /*seed=*/share);
    copy(losses_.slice(micro_step, micro_step + 1), loss);
  }
  model_.parameters().finish_gradients();
}

// Draws are numbered by step and place: the same ones as the step's own pass makes.
void TrainingStep::take_exact_gradients(std::int64_t step, const FillBatch& fill) {
  {
    Tape exact(ResidualPlan({.recompute = config_.residuals.recompute}));
    accumulate_gradients(step, fill, exact, Seen::kNo);
    exact_gradients_->take();
  }
  ctx_.meter().reset_peaks();  // those of the step are of its own pass
}

StepNumbers TrainingStep::reduce_numbers() {
  const StepTimer::Part part(ctx_.timer(), "gradient norm");
  ParameterStore& parameters = model_.parameters();
  const double max_norm = config_.optimizer.grad_clip;
  if (placement_.is_alone()) {
    return step_numbers(ctx_, parameters, losses_, max_norm);
  }
  RankGrid& grid = *placement_.grid;
  sum_gradients(grid, parameters, factors_.has_value() ? &*factors_ : nullptr);
  return step_numbers(ctx_, grid, parameters, all_losses(ctx_, grid, losses_), max_norm);
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
  if (tape_.plan().has_ema_sketches()) {
    facts.sketch_rank = RankController::from(state_store_, tape_.plan().config().ema_sketch).rank();
  }
  facts.lr = learning_rate(config_.schedule, step, config_.train.steps);
  if (is_observed(step)) {
    if (exact_gradients_.has_value()) {
      take_exact_gradients(step, fill);
    }
    monitor_->begin_step();
    jacobians_.attach(model_);
  }
  accumulate_gradients(step, fill, tape_, is_observed(step) ? Seen::kYes : Seen::kNo);
  const StepNumbers numbers = reduce_numbers();
  if (is_observed(step)) {
    monitor_->observe_gradients(ctx_);
  }
  {
    const StepTimer::Part part(ctx_.timer(), "optimizer");
    optimizer_->step(ctx_, model_.parameters(),
                     {.lr = facts.lr, .grad_scale = numbers.factor(), .step = step + 1});
  }
  if (ctx_.device().is_dry) {
    return facts;
  }
  // The one place of a step where the host waits for the device.
  const Tensor read = on_host(numbers.all);
  facts.loss = read.data<double>()[0];
  facts.grad_norm = read.data<double>()[1];
  facts.is_finite = std::isfinite(facts.loss) && std::isfinite(facts.grad_norm);
  facts.is_skipped = !facts.is_finite && config_.train.on_nonfinite == OnNonfinite::kSkip;
  if (is_observed(step)) {
    facts.observed = monitor_->finish(ctx_, step, facts.loss);
    facts.observed->jacobians = jacobians_.detach(model_);
    if (exact_gradients_.has_value()) {
      facts.observed->agreement = exact_gradients_->compare();
    }
  }
  if (tape_.plan().has_ema_sketches() && facts.is_finite) {
    observe_ema_step(state_store_, tape_.plan().config().ema_sketch,
                     {.loss = facts.loss,
                      .error = ema_sketch_error(state_store_),
                      .grad_norm = facts.grad_norm});
  }
  return facts;
}

BatchScore TrainingStep::evaluate(const Batch::Fill& fill, std::optional<std::int64_t> rows) {
  ctx_.set_training(false);
  batch_.load(fill);
  const auto filled = [&](const Tensor& x) { return rows ? x.slice(0, *rows) : x; };
  return model_.score_batch(ctx_, filled(batch_.inputs()), filled(batch_.targets()));
}

std::string TrainingStep::describe_nonfinite(std::int64_t step, const FillBatch& fill) {
  if (const auto found = first_nonfinite(model_.parameters(), ParameterPart::kValues)) {
    return fmt::format("parameter {} is {} at element {} before the step", found->parameter,
                       found->value, found->index);
  }
  std::string description;
  if (!placement_.is_alone()) {  // others may have left above: no forward pass without them
    const auto found = first_nonfinite(model_.parameters(), ParameterPart::kGrads);
    return found.has_value() ? fmt::format("the gradient of {} is {} at element {}",
                                           found->parameter, found->value, found->index)
                             : std::string("no gradient of this rank's parameters is the cause");
  }
  ctx_.attach_observer([&](const Node& node, const Tensors& outputs) {
    for (const Tensor& output : outputs) {
      const auto found = description.empty() ? first_nonfinite(output) : std::nullopt;
      if (found.has_value()) {
        description = fmt::format(
            "output {} of {} in {} is not finite at element {}", output.shape(), node.op().name(),
            node.module().empty() ? "the model" : node.module(), found->index);
      }
    }
  });
  for (std::int64_t micro_step = 0; micro_step < config_.train.micro_steps; ++micro_step) {
    load_batch(fill, micro_step);
    ctx_.begin_pass(static_cast<std::uint64_t>(config_.train.seed), step, micro_step);
    model_.loss(ctx_, batch_.inputs(), batch_.targets());
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
