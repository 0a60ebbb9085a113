#include "tools/train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <omp.h>

#include "data/tokenizer_file.h"
#include "engine/config/fields.h"
#include "engine/device/device.h"
#include "engine/io/sha256.h"
#include "models/lbi/position_losses.h"
#include "tools/bench/gemm_rate.h"
#include "tools/console/quantity.h"
#include "tools/eval/score_sums.h"
#include "tools/inspect/residual_plans.h"
#include "tools/monitor/monitor_text.h"
#include "tools/run/threads.h"
#include "tools/run/weights_source.h"
#include "tools/run/world.h"
#include "tools/train/serial_regions.h"

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

PeakFlops measure_peak(const Config& config) {
  if (config.device != "cpu" || config.train.dtype == TrainDType::kF64) {
    return {};
  }
  const GemmShape shape{.m = 1024, .n = 1024, .k = 1024};
  const double flops = measure_gemm_rate(shape, activation_dtype(config.train.dtype));
  return {.flops = flops,
          .source = fmt::format("measured {} GEMM of 1024^3 on {} threads: {:.0f} GFLOP/s",
                                products_text(activation_dtype(config.train.dtype)),
                                omp_get_max_threads(), flops / 1e9)};
}

/// Whether something that happens every `every` steps is due after step `step` of `steps`.
bool is_due(std::int64_t every, std::int64_t step, std::int64_t steps) {
  return step == steps || (every > 0 && step % every == 0);
}

/// `config` when every rank has the same one, the device aside.
Config same_config(Config config, Communicator& world) {
  constexpr std::int64_t kDigits = 64;
  Config compared = config;
  compared.device = "cpu";
  const std::string digest = sha256_hex(as_bytes(write_config(compared)));
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  const Tensor own(host, {kDigits}, DType::kU8, MemoryTag::kComm);
  const Tensor all(host, {world.size(), kDigits}, DType::kU8, MemoryTag::kComm);
  std::memcpy(own.raw(), digest.data(), kDigits);
  world.all_gather(own, all);
  for (int rank = 0; rank < world.size(); ++rank) {
    if (std::memcmp(all.raw() + rank * kDigits, all.raw(), kDigits) != 0) {
      fail<ConfigError>("rank {} has another config than rank 0; expected the same on all {} ranks",
                        rank, world.size());
    }
  }
  return config;
}

/// The same model with its regions on the ranks of a grid.
std::unique_ptr<ParallelLbi> spread(std::unique_ptr<Model> model, RankGrid& grid) {
  auto* regions = dynamic_cast<LbiModel*>(model.get());
  GHOST_CHECK(regions != nullptr, "{} has no regions to spread over {} ranks",
              model->architecture(), grid.num_region_ranks());
  model.release();
  return std::make_unique<ParallelLbi>(std::unique_ptr<LbiModel>(regions), grid);
}

}  // namespace

Trainer::Trainer(Config config, StartMode mode, Console& console, Communicator& world)
    : config_(same_config(std::move(config), world)),
      console_(console),
      grid_(world, config_.parallel.region_ranks),
      directory_(config_.run.dir),
      checkpoints_(directory_.checkpoints(), config_.checkpoint, grid_) {
  set_threads(config_.train.threads);
  const Device device = rank_device(config_.device);
  data_ = open_run_data(config_);
  count_steps();
  std::string choice;
  config_ = resolve_residuals(config_, data_.facts, &choice);
  if (!choice.empty()) {
    console_.note(choice);
  }
  choice.clear();
  config_ = choose_serial_regions(config_, data_.facts.vocab_size, device, grid_, &choice);
  if (!choice.empty()) {
    console_.note(choice);
  }
  model_ = make_any_model(config_.model, data_.facts);
  placement_.grid = &grid_;
  if (grid_.num_region_ranks() > 1) {
    auto regions = spread(std::move(model_), grid_);
    placement_.regions = regions.get();
    model_ = std::move(regions);
  }
  step_ = std::make_unique<TrainingStep>(config_, *model_, device, placement_);
  state_.architecture = model_->architecture();
  if (grid_.is_alone()) {
    peak_ = measure_peak(config_);
  }
  const auto newest = mode == StartMode::kResume ? directory_.checkpoints().newest() : std::nullopt;
  // Whatever can be wrong is found before a file is written.
  if (!newest.has_value() && !config_.train.init_from.empty()) {
    load_weights(config_.train.init_from, *model_);
    console_.note(fmt::format("weights from {}", config_.train.init_from));
  }
  if (is_writer()) {
    if (mode != StartMode::kResume) {
      directory_.create(/*overwrite=*/mode == StartMode::kOverwrite);
    }
    metrics_ = std::make_unique<MetricsLog>(directory_.metrics());
  }
  if (newest.has_value()) {
    restore(*newest);
  } else if (is_writer()) {
    begin(mode);
  }
  model_->parameters().refresh_working();
  if (is_writer()) {
    write_run_files();
  }
  grid_.count(MessageKind::kControl, world, [&] { world.barrier(); });
}

// Last, so that a resume that is refused leaves the files of the run as they were.
void Trainer::write_run_files() const {
  write_file_atomically(directory_.config(), write_config(config_));
  if (data_.tokenizer != nullptr) {
    std::filesystem::create_directories(directory_.tokenizer());
    save_tokenizer(*data_.tokenizer, directory_.tokenizer());
  }
}

void Trainer::restore(const std::filesystem::path& checkpoint) {
  state_ = load_model(checkpoint, model_->architecture(), named_values(model_->parameters()));
  load_optimizer(checkpoint,
                 [&](std::span<const StoredTensor> stored) { return step_->places_for(stored); });
  if (is_writer()) {
    metrics_->truncate(std::min(state_.metrics_bytes, metrics_->size()));
    metrics_->event(state_.step, "resume", checkpoint.filename().string());
  }
  saved_step_ = state_.step;
  console_.note(fmt::format("resuming from {}", checkpoint.string()));
}

void Trainer::begin(StartMode mode) {
  if (mode == StartMode::kResume) {
    metrics_->truncate(0);
    console_.note(
        fmt::format("{}: no complete checkpoint; starting at step 0", directory_.root().string()));
  }
  metrics_->start({.config = config_,
                   .architecture = model_->architecture(),
                   .parameters = model_->parameters().num_elements(),
                   .item = model_->item_name(),
                   .score = model_->score_name(),
                   .flops_per_token = model_->flops_per_item(config_.train.seq_len),
                   .peak = peak_,
                   .threads = omp_get_max_threads(),
                   .replicas = grid_.num_replicas(),
                   .region_ranks = grid_.num_region_ranks(),
                   .monitor = step_->monitor()});
}

void Trainer::announce() {
  console_.note(fmt::format(
      "{}: {} parameters, {} FLOPs a {} ({}), {} {}s a step, {} on {}", model_->architecture(),
      format_short(static_cast<double>(model_->parameters().num_elements())),
      format_short(model_->flops_per_item(config_.train.seq_len)), model_->item_name(),
      model_->flops_formula(), format_count(tokens_per_step()), model_->item_name(),
      enum_name(config_.train.dtype),
      config_.device == "cpu" ? fmt::format("{} threads", omp_get_max_threads())
                              : step_->context().device().name()));
  if (!grid_.is_alone()) {
    console_.note(fmt::format("{} ranks: {} x {}, replicas x region ranks", grid_.world().size(),
                              grid_.num_replicas(), grid_.num_region_ranks()));
  }
  console_.note(fmt::format("data: {}", data_.feed->describe()));
  if (peak_.flops.has_value()) {
    console_.note(fmt::format("MFU of {}", peak_.source));
  }
  if (step_->monitor() != nullptr) {
    console_.note(describe_monitor(*step_->monitor(), *config_.monitor));
  }
  console_.note(fmt::format("run directory: {}", directory_.root().string()));
}

FillBatch Trainer::batches_of(std::int64_t step) const {
  return [this, step](std::int64_t micro_step, const HostElements& inputs,
                      const HostElements& targets) {
    data_.feed->fill({.step = step,
                      .micro_step = micro_step,
                      .micro_steps = config_.train.micro_steps,
                      .rank = grid_.replica(),
                      .world_size = grid_.num_replicas()},
                     inputs, targets);
  };
}

void Trainer::run(const StopSignal& stop) {
  announce();
  first_step_ = state_.step;
  run_began_ = Clock::now();
  bool is_stopped = false;
  while (state_.step < config_.train.steps && !(is_stopped = stops(stop))) {
    const StepFacts facts = train_step();
    log_step(facts);
    if (is_due(config_.eval.every, state_.step, config_.train.steps)) {
      evaluate();
    }
    const std::int64_t every =
        config_.checkpoint.every > 0 ? config_.checkpoint.every : config_.eval.every;
    if (is_due(every, state_.step, config_.train.steps)) {
      const bool is_last = state_.step == config_.train.steps;
      save_checkpoint(is_last || !config_.checkpoint.background
                          ? CheckpointWriter::When::kNow
                          : CheckpointWriter::When::kInBackground);
    }
  }
  save_checkpoint(CheckpointWriter::When::kNow);  // unless this step's is there or on its way
  checkpoints_.finish();
  if (is_stopped) {
    if (is_writer()) {
      metrics_->event(state_.step, "stop", stop.name());
    }
    console_.note(fmt::format("{} at step {}: checkpoint written; go on with --resume {}",
                              stop.name(), state_.step, directory_.root().string()));
  } else {
    log_correlations();
  }
  console_.finish();
}

std::int64_t Trainer::tokens_per_step() const {
  return config_.tokens_per_step() * grid_.num_replicas();
}

void Trainer::count_steps() {
  if (config_.train.epochs == 0) {
    return;
  }
  const std::int64_t samples = data_.feed->samples_per_epoch() * config_.train.epochs;
  if (samples == 0) {
    fail<ConfigError>("train.epochs is {}; expected 0 for data without epochs",
                      config_.train.epochs);
  }
  const std::int64_t a_step =
      config_.train.batch_size * config_.train.micro_steps * grid_.num_replicas();
  config_.train.steps = (samples + a_step - 1) / a_step;
}

bool Trainer::stops(const StopSignal& stop) {
  std::array<double, 2> num_ranks = {stop.requested() ? 1.0 : 0.0,
                                     checkpoints_.is_written() ? 1.0 : 0.0};
  grid_.sum(MessageKind::kControl, grid_.world(), num_ranks);
  if (num_ranks[1] == checkpoints_.num_writers()) {
    checkpoints_.finish();
  }
  return num_ranks[0] > 0;
}

StepFacts Trainer::train_step() {
  step_began_ = Clock::now();
  step_->context().meter().reset_peaks();
  const StepFacts facts = step_->run(state_.step, batches_of(state_.step));
  if (facts.observed.has_value()) {
    log_observation(*facts.observed);
  }
  if (!facts.is_finite) {
    handle_nonfinite(facts);
  }
  ++state_.step;
  state_.tokens += tokens_per_step();
  state_.val_loss.reset();
  return facts;
}

void Trainer::log_observation(const MonitorRecord& record) {
  const std::vector<MonitoredModule>& modules = step_->monitor()->modules();
  for (const std::string& line : alarm_lines(record, modules)) {
    console_.warn(line);
  }
  if (is_writer()) {
    metrics_->observation(record, modules);
  }
}

void Trainer::log_correlations() {
  const Monitor* monitor = step_->monitor();
  if (monitor == nullptr || monitor->correlations().observations == 0) {
    return;
  }
  for (const std::string& line : correlation_lines(monitor->correlations(), monitor->modules())) {
    console_.note(line);
  }
  if (is_writer()) {
    metrics_->correlations(state_.step, monitor->correlations());
  }
}

void Trainer::handle_nonfinite(const StepFacts& facts) {
  const std::string description =
      fmt::format("step {}: loss {}, gradient norm {}: {}", state_.step + 1, facts.loss,
                  facts.grad_norm, step_->describe_nonfinite(state_.step, batches_of(state_.step)));
  if (is_writer()) {
    metrics_->event(state_.step + 1, "nonfinite", description);
  }
  if (!facts.is_skipped) {
    checkpoints_.finish();
    const auto newest = directory_.checkpoints().newest();
    fail("{}; {}", description,
         newest ? fmt::format("the last checkpoint is {}", newest->string())
                : std::string("there is no checkpoint yet"));
  }
  console_.warn(fmt::format("{}; update skipped", description));
}

void Trainer::log_step(const StepFacts& facts) {
  const double seconds = seconds_since(step_began_);
  const double tokens_per_s = static_cast<double>(tokens_per_step()) / seconds;
  const MemoryMeter& meter = step_->context().meter();
  const double mean_seconds =
      seconds_since(run_began_) / static_cast<double>(state_.step - first_step_);
  StepLine line{.step = state_.step,
                .steps = config_.train.steps,
                .loss = facts.loss,
                .grad_norm = facts.grad_norm,
                .lr = facts.lr,
                .sketch_rank = facts.sketch_rank,
                .ms_per_step = seconds * 1e3,
                .tokens_per_s = tokens_per_s,
                .item = model_->item_name(),
                .activation_bytes = meter.kept_peak(),
                .eta_s = mean_seconds * static_cast<double>(config_.train.steps - state_.step)};
  if (peak_.flops.has_value()) {
    line.mfu = tokens_per_s * model_->flops_per_item(config_.train.seq_len) / *peak_.flops;
  }
  console_.step(line);
  const MessageCounts messages = counts_of_all(grid_);
  grid_.reset_counts();
  if (is_writer()) {
    metrics_->train(
        line, state_.tokens, *step_->context().allocator(),
        {.counts = grid_.is_alone() ? nullptr : &messages, .ranks = grid_.world().size()});
  }
}

void Trainer::evaluate() {
  const std::int64_t num_batches = data_.feed->num_eval_batches();
  if (num_batches == 0) {
    return;
  }
  const std::int64_t evaluation = evaluation_at(state_.step, config_.eval.every);
  ScoreSums scores(num_batches);
  for (std::int64_t batch = grid_.replica(); batch < num_batches; batch += grid_.num_replicas()) {
    const auto fill = [&](const HostElements& inputs, const HostElements& targets) {
      data_.feed->fill_eval(evaluation, batch, inputs, targets);
    };
    scores.set(batch, step_->evaluate(fill, data_.feed->eval_rows(batch)));
  }
  grid_.sum(MessageKind::kLoss, grid_.replicas(), scores.values());
  last_val_loss_ = scores.loss();
  const bool is_best = !state_.best_val_loss.has_value() || last_val_loss_ < *state_.best_val_loss;
  state_.val_loss = last_val_loss_;
  if (is_best) {
    state_.best_val_loss = last_val_loss_;
  }
  const EvalLine line{.step = state_.step,
                      .steps = config_.train.steps,
                      .val_loss = last_val_loss_,
                      .batches = num_batches,
                      .best = is_best,
                      .score_name = model_->score_name(),
                      .score = scores.score(*model_),
                      .label = loss_label(config_.model.regions)};
  console_.eval(line);
  if (is_writer()) {
    metrics_->eval(line);
  }
}

void Trainer::save_checkpoint(CheckpointWriter::When when) {
  if (saved_step_ == state_.step) {
    return;
  }
  if (is_writer()) {
    metrics_->event(state_.step, "checkpoint", fmt::format("step-{:06}", state_.step));
    state_.metrics_bytes = metrics_->size();
  }
  const bool is_first_copy = checkpoints_.snapshot_bytes() == 0;
  checkpoints_.save(state_, named_values(model_->parameters()), step_->state(), when);
  if (when == CheckpointWriter::When::kInBackground && is_first_copy) {
    console_.note(fmt::format("checkpoints are written in the background, from a copy of {}{}",
                              format_bytes(checkpoints_.snapshot_bytes()),
                              checkpoints_.num_writers() > 1 ? " on each rank" : ""));
  }
  saved_step_ = state_.step;
}

}  // namespace ghost
