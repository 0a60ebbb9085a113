#include "ops/ema_sketch.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/autograd/state_store.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/in_dtype.h"
#include "ops/launch_linear.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/rank_controller.h"
#include "ops/row_bins.h"

namespace ghost {
namespace {

constexpr std::int64_t kErrorMaps = 10;  // q of the error estimate
const std::string kBatchSuffix = ".batch";

bool is_batch(const std::string& name) {
  return name.starts_with(kEmaSketchPrefix) && name.ends_with(kBatchSuffix);
}

/// Layers that the store knows already.
std::int64_t num_layers(const StateStore& store) {
  return std::count_if(store.all().begin(), store.all().end(),
                       [](const auto& entry) { return is_batch(entry.first); });
}

Tensor as_rows(const Tensor& x) { return x.reshape({x.numel() / x.dim(-1), x.dim(-1)}); }

Tensor tensor_of(const Context& ctx, const DenseMatrix& matrix, DType dtype) {
  const Tensor out = ctx.empty({matrix.rows(), matrix.columns()}, statistic_dtype(dtype));
  const Tensor place = host_place(out);
  matrix.copy_to(place);
  copy(out, place);
  return in_dtype(ctx, out, dtype);
}

/// A gradient of zero.
void write_nothing(const GradientTarget& dweight) {
  if (!dweight.accumulate) {
    fill_zero(dweight.grad);
  }
}

/// a^T b
Tensor transposed_product(Context& ctx, const Tensor& a, const Tensor& b) {
  const Tensor out = ctx.empty({a.dim(1), b.dim(1)}, b.dtype());
  ctx.count_gemm({.m = a.dim(1), .n = b.dim(1), .k = a.dim(0)});
  launch_linear(ctx, LinearWeightBackward{.dy = a, .x = b, .dweight = out, .accumulate = false});
  return out;
}

}  // namespace

EmaSketch::EmaSketch(Context& ctx, const Tensor& x, const EmaSketchConfig& config,
                     const Place& place)
    : config_(config),
      rows_(x.numel() / x.dim(-1)),
      channels_(x.dim(-1)),
      dtype_(x.dtype()),
      is_dry_(ctx.device().is_dry) {
  GHOST_CHECK(ctx.state_store() != nullptr,
              "keep: ema_sketch of the input of {} has nowhere to remember", place.module);
  StateStore& store = *ctx.state_store();
  const RankController control = RankController::from(store, config);
  rank_ = control.rank();
  names_ = {.seed = static_cast<std::uint64_t>(config.seed), .generation = control.generation()};
  const bool is_chained = config.mode == EmaSketchMode::kTwoQr;
  if (place.is_network_input && !is_chained) {
    hold(x);
    return;
  }
  if (is_chained && (place.is_network_input || place.previous == nullptr)) {
    chain_start_ = as_rows(x).detach();
    hold(x);
  } else {
    previous_ = place.previous;
  }

  const std::string name = fmt::format("{}{}", kEmaSketchPrefix, place.module);
  find_batch(store, name);
  const std::int64_t micro_step = ctx.next_stream(Purpose::kSketch).micro_step;
  const std::int64_t full = find_rows(place.module, micro_step);
  if (rows_ < full && config.short_batch == ShortBatch::kDrop) {
    hold(x);
    return;
  }
  const bool is_rescaled = config.short_batch == ShortBatch::kPadRescaled;
  const double share = static_cast<double>(full) / static_cast<double>(rows_);
  update(ctx, store, name,
         {.rows = as_rows(x).detach(),
          .micro_step = micro_step,
          .weight = is_rescaled ? std::sqrt(share) : 1});
  if (is_warming_up()) {
    is_skipped_ = config.warmup == EmaWarmup::kSkip && !exact_.defined();
    if (!is_skipped_) {
      hold(x);
    }
  }
}

void EmaSketch::update(const Context& ctx, StateStore& store, const std::string& name,
                       const Batch& batch) {
  if (is_two_sided()) {
    GHOST_CHECK(batch.micro_step == 0 || config_.beta == 0,
                "residuals.ema_sketch.beta is {} in mode tropp with several micro-batches; "
                "expected 0",
                config_.beta);
    const bool has_errors = config_.control.adaptive == AdaptiveRank::kError;
    const TwoSidedSketch::Sizes sizes{
        .k = config_.k(rank_), .s = config_.s(rank_), .errors = has_errors ? kErrorMaps : 0};
    const DType state = statistic_dtype(dtype_);
    two_sided_.emplace(store, name, sizes, names_, layer_, rows_, channels_, state);
    two_sided_->update(ctx, in_dtype(ctx, batch.rows, state), config_.beta);
    return;
  }
  sketch_.emplace(store, name, layout(), channels_, statistic_dtype(dtype_));
  sketch_->update(ctx, batch.rows, draw_probes(ctx, layout(), names_, first_row_, rows_, dtype_),
                  {.beta = config_.beta,
                   .weight = batch.weight,
                   .is_further = batch.micro_step > 0 && sketch_->updates() > 0});
}

// With beta = 0 later micro-batches are not in the sketch yet; else those of the last step are.
std::int64_t EmaSketch::find_rows(std::string_view module, std::int64_t micro_step) {
  double* known = batch_.data<double>();
  const std::int64_t full = known == nullptr ? rows_ : static_cast<std::int64_t>(known[1]);
  GHOST_CHECK(rows_ <= full,
              "the input of {} has {} rows; residuals.ema_sketch began with {} and takes no more",
              module, rows_, full);
  std::int64_t batches = micro_step + 1;
  if (known != nullptr && config_.beta > 0) {
    known[2] = std::max(known[2], static_cast<double>(batches));
    batches = static_cast<std::int64_t>(known[2]);
  }
  first_row_ = micro_step * full;
  probe_rows_ = batches * full;
  return full;
}

void EmaSketch::find_batch(StateStore& store, const std::string& name) {
  const bool is_new = !store.find(name + kBatchSuffix).defined();
  const std::int64_t number = is_new ? num_layers(store) : 0;
  batch_ = store.get_on_host(name + kBatchSuffix, {4}, MemoryTag::kSketches);
  if (double* known = batch_.data<double>()) {
    if (is_new) {
      known[0] = static_cast<double>(number);
      known[1] = static_cast<double>(rows_);
    }
    layer_ = static_cast<std::int64_t>(known[0]);
  }
}

ThreeSketchLayout EmaSketch::layout() const {
  ThreeSketchLayout out{.k = config_.k(rank_), .s = config_.s(rank_), .is_tied = config_.tie};
  if (config_.mode == EmaSketchMode::kLift || is_first_link()) {
    out.has_y = false;
    out.has_z = false;
  }
  return out;
}

bool EmaSketch::is_warming_up() const {
  if (is_dry_ || config_.beta == 0 || config_.warmup == EmaWarmup::kNone) {
    return false;
  }
  return static_cast<double>(updates()) < 3 / (1 - config_.beta);
}

void EmaSketch::hold(const Tensor& x) {
  exact_ = as_rows(x).detach();
  if (exact_.storage()->tag() == MemoryTag::kWorkspace) {
    exact_.storage()->retag(MemoryTag::kResiduals);
  }
}

std::int64_t EmaSketch::bytes() const {
  return (batch_.defined() ? batch_.bytes() : 0) + (sketch_.has_value() ? sketch_->bytes() : 0) +
         (two_sided_.has_value() ? two_sided_->bytes() : 0) +
         (exact_.defined() ? exact_.bytes() : 0);
}

std::int64_t EmaSketch::updates() const {
  return is_two_sided() ? two_sided_->updates() : sketch_->updates();
}

RebuiltInput EmaSketch::lifted() const {
  // Those that the products met: bf16's are rounded by far more than they agree.
  const Context host(Device{});
  const Tensor probes = draw_probes(host, sketch_->layout(), names_, /*first_row=*/0, probe_rows_,
                                    dtype_ == DType::kBF16 ? dtype_ : DType::kF64);
  RebuiltInput out = lift(DenseMatrix::from(probes), sketch_->all());
  out.u = out.u.rows_between(first_row_, first_row_ + rows_);
  out.v.scale(bias_correction(config_.beta, updates()));
  if (config_.unbias) {
    out.v.scale(
        std::max(1.0, static_cast<double>(probe_rows_) / static_cast<double>(num_probes())));
  }
  return out;
}

const OperatorChain& EmaSketch::chain() const {
  if (!chain_.has_value()) {
    const LayerOperator op =
        layer_operator(previous_->sketch_->x(), sketch_->y(), sketch_->z_over_psi());
    chain_ = previous_->is_first_link() ? first_link(op) : next_link(previous_->chain(), op);
  }
  return *chain_;
}

EmaSketch::Factors EmaSketch::factors(const Context& ctx) const {
  if (is_dry_) {
    const std::int64_t wanted =
        is_two_sided() || config_.mode == EmaSketchMode::kTwoQr ? config_.k(rank_) : num_probes();
    const std::int64_t size = std::min(wanted, rows_);
    return {.u = ctx.empty({rows_, size}, dtype_), .v = ctx.empty({size, channels_}, dtype_)};
  }
  switch (config_.mode) {
    case EmaSketchMode::kLift:
    case EmaSketchMode::kStack: {
      const RebuiltInput rebuilt = lifted();
      return {.u = tensor_of(ctx, rebuilt.u, dtype_), .v = tensor_of(ctx, rebuilt.v, dtype_)};
    }
    case EmaSketchMode::kTropp: {
      RebuiltInput rebuilt =
          two_sided_->rebuild(config_.truncate ? std::optional<std::int64_t>(rank_) : std::nullopt);
      if (config_.control.adaptive == AdaptiveRank::kError) {
        batch_.data<double>()[3] =
            bias_correction(config_.beta, updates()) * two_sided_->error(rebuilt);
      }
      rebuilt.v.scale(bias_correction(config_.beta, updates()));
      return {.u = tensor_of(ctx, rebuilt.u, dtype_), .v = tensor_of(ctx, rebuilt.v, dtype_)};
    }
    case EmaSketchMode::kTwoQr:
      break;
  }
  const EmaSketch* start = previous_.get();
  while (!start->is_first_link()) {
    start = start->previous_.get();
  }
  const Tensor& batch = start->chain_start_;
  GHOST_CHECK(batch.dim(0) == rows_, "two_qr leads from {} rows to {}; expected as many",
              batch.dim(0), rows_);
  const Tensor left = tensor_of(ctx, chain().left, dtype_);
  const Tensor u = ctx.empty({rows_, left.dim(1)}, dtype_);
  ctx.count_gemm({.m = rows_, .n = left.dim(1), .k = batch.dim(1)});
  launch_linear(ctx, LinearInputBackward{.dy = batch, .weight = left, .dx = u});
  return {.u = u, .v = tensor_of(ctx, chain().right, dtype_)};
}

void EmaSketch::write_gradient(Context& ctx, const Tensor& cotangent,
                               const GradientTarget& dweight) const {
  if (is_skipped_) {
    write_nothing(dweight);
    return;
  }
  Tensor left = as_rows(cotangent);
  Tensor right = exact_;
  if (!exact_.defined()) {
    const Factors of = factors(ctx);
    left = transposed_product(ctx, of.u, left);
    right = of.v;
  }
  ctx.count_gemm({.m = dweight.grad.dim(0), .n = right.dim(1), .k = left.dim(0)});
  launch_linear(
      ctx, LinearWeightBackward{
               .dy = left, .x = right, .dweight = dweight.grad, .accumulate = dweight.accumulate});
}

double ema_sketch_error(const StateStore& store) {
  double sum = 0;
  for (const auto& [name, state] : store.all()) {
    if (is_batch(name) && state.raw() != nullptr) {
      const Tensor host = on_host(state);  // a checkpoint's may still be on the device
      sum += host.data<double>()[3] * host.data<double>()[3];
    }
  }
  return std::sqrt(sum);
}

void keep_ema_sketch(Context& ctx, Node& node, std::string_view name, const Tensor& x) {
  const bool is_network_input = !node.is_recorded_input(0);
  node.keep_ema_sketch(name, x, [&](std::shared_ptr<const ResidualSketch> previous) {
    return std::make_shared<const EmaSketch>(
        ctx, x, ctx.tape()->plan().config().ema_sketch,
        EmaSketch::Place{
            .module = node.module(),
            .is_network_input = is_network_input,
            .previous = std::static_pointer_cast<const EmaSketch>(std::move(previous))});
  });
}

std::shared_ptr<const EmaSketch> kept_ema_sketch(const Node& node, std::string_view name) {
  return node.kept_as(name) == Keep::kEmaSketch
             ? std::static_pointer_cast<const EmaSketch>(node.sketch(name))
             : nullptr;
}

EmaGradient::EmaGradient(const Context& ctx, std::shared_ptr<const EmaSketch> sketch,
                         std::int64_t columns)
    : sketch_(std::move(sketch)), factors_(sketch_->factors(ctx)) {
  values_ = ctx.empty({factors_.v.dim(0), columns}, factors_.v.dtype(), MemoryTag::kSketches);
  factors_.v.storage()->retag(MemoryTag::kSketches);
}

void EmaGradient::form(const Context& ctx, const std::function<void(const LogitsSketch&)>& fill) {
  if (ctx.device().is_cuda() && !ctx.device().is_dry) {
    dispatch(
        ctx, [] {}, [&] { form_on_gpu(ctx, fill); });
    factors_.u = {};
    return;
  }
  const RowBins all = covering_bins(factors_.u.dim(0));
  std::vector<double> matrix;  // u^T
  if (factors_.u.raw() != nullptr) {
    const DenseMatrix transposed = DenseMatrix::from(factors_.u).transposed();
    matrix.assign(transposed.elements().begin(), transposed.elements().end());
  }
  double squared_norm = 0;  // nobody asks
  fill({.bins = &all, .matrix = &matrix, .out = values_, .squared_norm = &squared_norm});
  factors_.u = {};
}

void EmaGradient::write(Context& ctx, const GradientTarget& dweight,
                        const Tensor& cotangent) const {
  if (sketch_->is_skipped()) {
    write_nothing(dweight);
    return;
  }
  ctx.count_gemm({.m = dweight.grad.dim(0), .n = factors_.v.dim(1), .k = values_.dim(0)});
  launch_linear(ctx, LinearWeightBackward{.dy = values_,
                                          .x = factors_.v,
                                          .dweight = dweight.grad,
                                          .accumulate = dweight.accumulate,
                                          .alpha = item(cotangent)});
}

std::shared_ptr<const EmaGradient> kept_ema_gradient(const Node& node, std::string_view name) {
  return std::dynamic_pointer_cast<const EmaGradient>(node.sketch(name));
}

}  // namespace ghost
