#include "ops/row_sketch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "engine/autograd/factor_exchange.h"
#include "engine/autograd/state_store.h"
#include "engine/tensor/primitives.h"
#include "ops/dense_sketch.h"
#include "ops/ema_sketch.h"
#include "ops/gather_rows_kernels.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/linear_kernels.h"
#include "ops/row_groups_kernels.h"
#include "ops/row_sketch_kernels.h"

namespace ghost {
namespace {

/// Sweeps of descent for means that are kept.
constexpr std::int64_t kMeansSweeps = 3;

/// How many of the largest rows are kept for certain: as many as leave the others the least
/// weight, (1 - their share) / (draws left).
std::int64_t num_certain(const std::vector<double>& descending, double sum, std::int64_t rank) {
  std::int64_t best = 0;
  double rest = sum;
  double least = rest / static_cast<double>(rank);
  for (std::int64_t kept = 1; kept < rank; ++kept) {
    rest -= descending[static_cast<std::size_t>(kept - 1)];
    const double weight = std::max(rest, 0.0) / static_cast<double>(rank - kept);
    if (weight < least) {
      least = weight;
      best = kept;
    }
  }
  return best;
}

std::vector<double> values_in_f64(const Tensor& x) {
  std::vector<double> out;
  visit_real(x.dtype(), [&]<typename T>() { out.assign(x.data<T>(), x.data<T>() + x.numel()); });
  return out;
}

void find_norms(const Context& ctx, const Tensor& x, const Tensor& out) {
  const RowNorms args{.x = x, .out = out};
  dispatch(
      ctx, [&] { cpu::gather_rows(args); }, [&] { cuda::gather_rows(args); });
}

Tensor as_rows(const Tensor& x) { return x.reshape({x.numel() / x.dim(-1), x.dim(-1)}); }

/// Where a CPU sums up what `values` then hold, rounded once: `values` where they are no narrower.
Tensor sums_for(const Context& ctx, const Tensor& values) {
  const DType dtype = statistic_dtype(values.dtype());
  return values.dtype() == dtype ? values : ctx.empty(values.shape(), dtype);
}

void round_sums(const Tensor& values, const Tensor& sums) {
  if (values.dtype() != sums.dtype()) {
    cast(values, sums);
  }
}

/// Means of groups in place of rows of x, with -weight: one entry becomes one a level.
RowBins minus_means(const RowBins& bins, const RowGroups& groups) {
  const std::uint16_t* of = groups.group_of.data<std::uint16_t>();
  const std::int64_t rows = groups.group_of.dim(1);
  RowBins out;
  for (std::size_t r = 0; r + 1 < bins.offsets.size(); ++r) {
    for (auto i = static_cast<std::size_t>(bins.offsets[r]);
         i < static_cast<std::size_t>(bins.offsets[r + 1]); ++i) {
      for (std::int64_t level = 0; level < groups.levels; ++level) {
        out.add(level * groups.groups_per_level + of[level * rows + bins.rows[i]],
                -bins.weights[i]);
      }
    }
    out.close_bin();
  }
  out.num_outputs = out.num_bins();
  return out;
}

}  // namespace

bool RowSketch::picks_by_length() const {
  return config_.rows == SampledRows::kNorm || config_.rows == SampledRows::kWta;
}

double RowSketch::collision_probability() const {
  const auto b = static_cast<double>(rows_);
  const auto r = static_cast<double>(rank());
  if (config_.hash == HashKind::kIndependent) {
    return 1 / r;
  }
  if (rows_ < 2) {
    return 0;
  }
  const auto q = static_cast<double>(rows_ / rank());
  const auto t = static_cast<double>(rows_ % rank());
  return q * (2 * t + r * (q - 1)) / (b * (b - 1));
}

RowSketch::RowSketch(const Context& ctx, const Tensor& input, const SketchConfig& config,
                     const RandomStream& stream, std::int64_t rank)
    : config_(config), stream_(stream), rows_(input.numel() / input.dim(-1)) {
  const Tensor x = as_rows(input).detach();
  rank = std::min(rank, rows_);
  if (config.center != Centering::kNone) {
    sketch_groups(ctx, x, rank);
    return;
  }
  values_ = ctx.empty({rank, x.dim(-1)}, x.dtype(), MemoryTag::kSketches);
  if (picks_by_length()) {
    pick_rows(ctx, x, rank);
  }
  if (config.wiener) {
    row_norms_ = ctx.empty({rows_}, statistic_dtype(x.dtype()), MemoryTag::kSketches);
    find_norms(ctx, x, row_norms_);
  }
  sketch_all(ctx, x);
}

RowSketch::RowSketch(const Context& ctx, const Tensor& input, const SketchConfig& config,
                     RowBins bins)
    : config_(config), rows_(input.numel() / input.dim(-1)), given_(std::move(bins)) {
  const Tensor x = as_rows(input).detach();
  values_ = ctx.empty({given_->num_outputs, x.dim(-1)}, x.dtype(), MemoryTag::kSketches);
  sketch_all(ctx, x);
}

void RowSketch::sketch_all(const Context& ctx, const Tensor& x) {
  dispatch(
      ctx,
      [&] {
        const RowBins bins = gradient_bins();
        const Tensor sums = sums_for(ctx, values_);
        const Tensor out = is_dense() ? Tensor{} : sums;
        cpu::gather_rows(
            GatherRows{.x = x, .bins = &bins, .out = out, .squared_norm = &squared_norm_});
        if (is_dense()) {
          multiply_dense(ctx, x, /*first_row=*/0, sums, /*accumulate=*/false);
        }
        round_sums(values_, sums);
        gamma_ = gamma_of(squared_norm_, values_);
      },
      [&] { sketch_all_on_gpu(ctx, x); });
}

// mu from the sums of x over groups;   S E = S X - S (sum of mu[group]).  Blocks drop E.
void RowSketch::sketch_groups(const Context& ctx, const Tensor& x, std::int64_t rank) {
  const bool is_sketched = config_.remainder == Remainder::kSketch;
  const auto share =
      static_cast<std::int64_t>(std::llround(config_.group_fraction * static_cast<double>(rank)));
  const std::int64_t max_groups = is_sketched ? std::clamp<std::int64_t>(share, 1, rank) : rank;
  groups_ = form_groups(ctx, x, config_, max_groups, stream_);
  const std::int64_t bins_left = is_sketched ? rank - num_groups() : 0;
  values_ = ctx.empty({num_groups() + bins_left, x.dim(-1) / groups_.blocks}, x.dtype(),
                      MemoryTag::kSketches);
  const std::int64_t sweeps = groups_.levels == 1 ? 1 : kMeansSweeps;
  const auto on_cpu = [&] {
    RowBins hashed;
    if (bins_left > 0) {
      hashed = hashed_bins(stream_, rows_, bins_left, config_.hash);
    }
    double* squared_norm = bins_left > 0 ? &squared_norm_ : nullptr;
    const Tensor sums = sums_for(ctx, values_);
    cpu::for_each_block(groups_.blocks, [&](std::int64_t block) {
      const Tensor group_of = groups_.of_block(block);
      const RowBins bins = joined_bins(group_bins(group_of, groups_.groups_per_level), hashed);
      const Tensor mu = means_of_block(sums, block);
      cpu::gather_rows(GatherRows{.x = x,
                                  .first_column = block * values_.dim(1),
                                  .bins = &bins,
                                  .out = bins_left > 0 ? sums : mu,
                                  .squared_norm = squared_norm});
      cpu::row_groups(GroupMeans{
          .sums = mu, .group_of = group_of, .sweeps = sweeps, .squared_norm = squared_norm});
    });
    if (bins_left > 0) {
      const Tensor remainder = sums.slice(num_groups(), sums.dim(0));
      const RowBins correction = minus_means(hashed, groups_);
      cpu::gather_rows(GatherRows{
          .x = means_of_block(sums, 0), .bins = &correction, .out = remainder, .accumulate = true});
      gamma_ = gamma_of(squared_norm_, remainder);
    }
    round_sums(values_, sums);
  };
  dispatch(ctx, on_cpu, [&] { sketch_groups_on_gpu(ctx, x, sweeps); });
}

Tensor RowSketch::means_of_block(const Tensor& values, std::int64_t block) const {
  const std::int64_t groups = groups_.groups_of_block();
  return values.slice(block * groups, (block + 1) * groups);
}

// With P_i = |x_i| / sum of all: R draws by P with weight 1 / (R P_i) (`norm`), or the largest rows
// with weight 1 and R - kept draws among the others with weight (their share) / ((R - kept) P_i)
// (`wta`). Half of each weight, its root, goes to either side.
void RowSketch::pick_rows(const Context& ctx, const Tensor& x, std::int64_t rank) {
  picked_ = ctx.empty({rank}, DType::kI32, MemoryTag::kSketches);
  const Tensor norms = ctx.empty({rows_}, statistic_dtype(x.dtype()));
  find_norms(ctx, x, norms);
  const auto on_cpu = [&] {
    const std::vector<double> length = values_in_f64(norms);
    std::vector<std::int32_t> order(static_cast<std::size_t>(rows_));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return length[static_cast<std::size_t>(a)] > length[static_cast<std::size_t>(b)];
    });
    std::vector<double> descending;
    for (const std::int32_t row : order) {
      descending.push_back(length[static_cast<std::size_t>(row)]);
    }
    const double sum = std::accumulate(descending.begin(), descending.end(), 0.0);
    const std::int64_t certain =
        config_.rows == SampledRows::kWta ? num_certain(descending, sum, rank) : 0;
    std::vector<double> cumulative(descending.begin() + certain, descending.end());
    std::partial_sum(cumulative.begin(), cumulative.end(), cumulative.begin());
    const double rest = cumulative.empty() ? 0.0 : cumulative.back();
    const auto draws = static_cast<double>(rank - certain);
    std::int32_t* picked = picked_.data<std::int32_t>();
    for (std::int64_t r = 0; r < rank; ++r) {
      std::size_t place = static_cast<std::size_t>(r);
      double weight = 1;
      if (r >= certain) {
        const double u =
            (static_cast<double>(stream_.words(static_cast<std::uint32_t>(r))[0]) + 0.5) * 0x1p-32;
        const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), u * rest);
        place =
            static_cast<std::size_t>(certain) +
            static_cast<std::size_t>(std::min(found, cumulative.end() - 1) - cumulative.begin());
        weight = descending[place] > 0 ? rest / (draws * descending[place]) : 0;
      }
      picked[r] = order[place];
      pick_weights_.push_back(std::sqrt(weight));
    }
  };
  dispatch(ctx, on_cpu, [&] { pick_rows_on_gpu(ctx, norms); });
}

RowBins RowSketch::gradient_bins() const {
  if (given_.has_value()) {
    return *given_;
  }
  if (groups_.group_of.defined()) {
    RowBins bins = group_bins(groups_.group_of, groups_.groups_per_level);
    const std::int64_t bins_left = rank() - num_groups();
    return bins_left == 0
               ? bins
               : joined_bins(std::move(bins), hashed_bins(stream_, rows_, bins_left, config_.hash));
  }
  if (is_dense()) {
    return covering_bins(rows_);
  }
  if (config_.rows == SampledRows::kUniform) {
    const double weight = std::sqrt(static_cast<double>(rows_) / static_cast<double>(rank()));
    return picked_bins(drawn_rows(stream_, rows_, rank(), /*word=*/0),
                       std::vector<double>(static_cast<std::size_t>(rank()), weight), rows_);
  }
  if (picks_by_length()) {
    return picked_bins(picked_.span<std::int32_t>(), pick_weights_, rows_);
  }
  return hashed_bins(stream_, rows_, rank(), config_.hash);
}

void RowSketch::multiply_dense(const Context& ctx, const Tensor& x, std::int64_t first_row,
                               const Tensor& out, bool accumulate) const {
  const auto on_cpu = [&] {
    const std::vector<double> matrix =
        dense_sketch_columns(config_.sketch, stream_, rank(), rows_, first_row, x.dim(0));
    cpu::row_sketch(DenseSketch{.matrix = &matrix, .x = x, .out = out, .accumulate = accumulate});
  };
  dispatch(ctx, on_cpu, [&] {
    cuda::row_sketch(ctx, DeviceDenseSketch{.method = config_.sketch,
                                            .stream = stream_,
                                            .rows = rows_,
                                            .first_row = first_row,
                                            .x = x,
                                            .columns = out.dim(1),
                                            .out = out,
                                            .accumulate = accumulate});
  });
}

double RowSketch::gamma() const { return device_.gamma.defined() ? item(device_.gamma) : gamma_; }

double RowSketch::gamma_of(double squared_norm, const Tensor& sketched) const {
  if (!config_.invariant) {
    return 1;
  }
  const double gamma =
      std::sqrt(squared_norm) / (std::sqrt(cpu::squared_norm(sketched)) + kNormEps);
  return config_.gamma_max > 0 ? std::min(gamma, config_.gamma_max) : gamma;
}

std::int64_t RowSketch::bytes() const {
  std::int64_t sum = values_.bytes() + static_cast<std::int64_t>(pick_weights_.size() * 8);
  for (const Tensor* part : {&groups_.group_of, &picked_, &row_norms_, &device_.pick_weights}) {
    sum += part->defined() ? part->bytes() : 0;
  }
  return sum;
}

void keep_linear_input(Context& ctx, Node& node, std::string_view name, const Tensor& x) {
  if (node.wants_ema_sketch()) {
    keep_ema_sketch(ctx, node, name, x);
    return;
  }
  if (!node.wants_sketch()) {
    node.keep(name, x);
    return;
  }
  node.keep_sketch(name, x, [&](const SketchConfig& config) {
    const std::int64_t rows = x.numel() / x.dim(-1);
    return std::make_shared<const RowSketch>(
        ctx, x, config, ctx.next_stream(Purpose::kSketch),
        sketch_rank(config, rows, ctx.tape()->plan().progress()));
  });
}

std::shared_ptr<const RowSketch> kept_sketch(const Node& node, std::string_view name) {
  return node.kept_as(name) == Keep::kSketch
             ? std::static_pointer_cast<const RowSketch>(node.sketch(name))
             : nullptr;
}

std::shared_ptr<const GradientSketch> kept_gradient(const Node& node, std::string_view name) {
  return std::dynamic_pointer_cast<const GradientSketch>(node.sketch(name));
}

GradientSketch::GradientSketch(const Context& ctx, std::shared_ptr<const RowSketch> sketch,
                               std::int64_t columns)
    : sketch_(std::move(sketch)) {
  values_ = ctx.empty({sketch_->rank(), columns}, sketch_->values().dtype(), MemoryTag::kSketches);
  dispatch(
      ctx, [&] { bins_ = sketch_->gradient_bins(); },
      [&] {
        device_.bins = sketch_->device_bins(ctx);
        device_.squared_norm = ctx.zeros({1}, DType::kF64, MemoryTag::kSketches);
        device_.norm_products = ctx.zeros({1}, DType::kF64, MemoryTag::kSketches);
      });
}

void GradientSketch::add(const Context& ctx, const Tensor& cotangent, std::int64_t first_row,
                         const std::optional<GradientTarget>& dbias) {
  const Tensor dy = as_rows(cotangent);
  const bool is_whole = dy.dim(0) == sketch_->rows();
  const bool accumulate = first_row > 0;
  const bool dense = sketch_->is_dense();
  const auto on_cpu = [&] {
    const RowBins piece =
        is_whole ? RowBins{} : bins_of_rows(bins_, first_row, first_row + dy.dim(0));
    const Tensor sums = sums_for(ctx, values_);
    GHOST_CHECK(is_whole || sums.dtype() == values_.dtype(),
                "sketch of {} rows of {} in {}; expected all of them", dy.dim(0), sketch_->rows(),
                dtype_name(values_.dtype()));
    GatherRows args{.x = dy,
                    .bins = is_whole ? &bins_ : &piece,
                    .out = dense ? Tensor{} : sums,
                    .accumulate = accumulate,
                    .squared_norm = &squared_norm_};
    if (dbias.has_value()) {
      args.column_sums = dbias->grad;
      args.accumulate_column_sums = dbias->accumulate || accumulate;
    }
    cpu::gather_rows(args);
    if (sketch_->row_norms_.defined()) {
      const Tensor norms = ctx.empty({dy.dim(0)}, statistic_dtype(dy.dtype()));
      cpu::gather_rows(RowNorms{.x = dy, .out = norms});
      const std::vector<double> of_dy = values_in_f64(norms);
      const std::vector<double> of_x =
          values_in_f64(sketch_->row_norms_.slice(first_row, first_row + dy.dim(0)));
      for (std::size_t i = 0; i < of_dy.size(); ++i) {
        norm_products_ += of_x[i] * of_x[i] * of_dy[i] * of_dy[i];
      }
    }
    if (dense) {
      sketch_->multiply_dense(ctx, dy, first_row, sums, accumulate);
    }
    round_sums(values_, sums);
  };
  dispatch(ctx, on_cpu, [&] { add_on_gpu(ctx, dy, first_row, dbias); });
}

void GradientSketch::form(const Context& ctx,
                          const std::function<void(const LogitsSketch&)>& fill) {
  if (ctx.device().is_cuda() && !ctx.device().is_dry) {
    dispatch(
        ctx, [] {}, [&] { form_on_gpu(ctx, fill); });
    return;
  }
  std::vector<double> matrix;
  std::vector<double> row_squares;
  const Tensor sums = sums_for(ctx, values_);
  LogitsSketch target{.bins = &bins_, .out = sums, .squared_norm = &squared_norm_};
  if (sketch_->is_dense() && !ctx.device().is_dry) {
    matrix = dense_sketch_columns(sketch_->config_.sketch, sketch_->stream_, sketch_->rank(),
                                  sketch_->rows(), /*first=*/0, sketch_->rows());
    target.matrix = &matrix;
  }
  if (sketch_->row_norms_.defined()) {
    row_squares.assign(static_cast<std::size_t>(sketch_->rows()), 0.0);
    target.row_squares = row_squares.data();
  }
  fill(target);
  round_sums(values_, sums);
  if (!row_squares.empty() && !ctx.device().is_dry) {
    const std::vector<double> of_x = values_in_f64(sketch_->row_norms_);
    for (std::size_t i = 0; i < row_squares.size(); ++i) {
      norm_products_ += of_x[i] * of_x[i] * row_squares[i];
    }
  }
}

double GradientSketch::gamma() const {
  const Tensor sketched = values_.slice(sketch_->num_groups(), sketch_->rank());
  const Context ctx(values_.storage()->shared_allocator());
  double gamma = 1;
  dispatch(
      ctx, [&] { gamma = sketch_->gamma_of(squared_norm_, sketched); },
      [&] {
        const Tensor on_gpu = sketch_->device_gamma(ctx, device_.squared_norm, sketched);
        gamma = on_gpu.defined() ? item(on_gpu) : 1;
      });
  return gamma;
}

std::vector<GradientSketch::Product> GradientSketch::products(Context& ctx, std::string_view site,
                                                              const Tensor& cotangent) const {
  const SketchConfig& config = sketch_->config_;
  const RowGroups& of = sketch_->groups_;
  const std::int64_t groups = sketch_->num_groups();
  const double factor = cotangent.defined() ? item(cotangent) : 1;
  double alpha = factor * config.scale * (1 - config.lambda) * (1 - config.lambda);
  std::vector<Product> out;
  for (std::int64_t block = 0; groups > 0 && block < of.blocks; ++block) {
    out.push_back({.begin = block * of.groups_of_block(),
                   .end = (block + 1) * of.groups_of_block(),
                   .first_column = block * sketch_->values().dim(1),
                   .alpha = alpha});
  }
  if (sketch_->rank() > groups) {
    alpha *= sketch_->gamma() * gamma();
    if (config.wiener) {
      alpha *= wiener_factor(ctx, site);
    }
    out.push_back({.begin = groups, .end = sketch_->rank(), .alpha = alpha});
  }
  return out;
}

void GradientSketch::write(Context& ctx, const GradientTarget& dweight, std::string_view site,
                           const Tensor& cotangent, FactorExchange* exchange) const {
  const std::int64_t rank = sketch_->rank();
  GradientFactors factors{.left = values_, .right = sketch_->values()};
  const auto on_cpu = [&] {
    std::vector<Product> parts = products(ctx, site, cotangent);
    if (exchange != nullptr && exchange->takes(dweight.grad, factors)) {
      // The numbers in front are each rank's own: they travel in its factor.
      const Tensor scaled = ctx.empty_like(values_);
      copy(scaled, values_);
      for (Product& part : parts) {
        scale(scaled.slice(part.begin, part.end), std::exchange(part.alpha, 1));
      }
      factors = exchange->gather(ctx, {.left = scaled, .right = factors.right});
    }
    for (std::int64_t first = 0; first < factors.left.dim(0); first += rank) {
      for (const Product& part : parts) {
        const bool has_columns = first > 0 || (part.first_column == 0 && part.begin > 0);
        cpu::linear(
            LinearWeightBackward{.dy = factors.left.slice(first + part.begin, first + part.end),
                                 .x = factors.right.slice(first + part.begin, first + part.end),
                                 .dweight = dweight.grad,
                                 .accumulate = dweight.accumulate || has_columns,
                                 .alpha = part.alpha,
                                 .first_column = part.first_column});
      }
    }
  };
  dispatch(ctx, on_cpu, [&] { write_on_gpu(ctx, dweight, site, cotangent); });
  ctx.count_gemm({.m = dweight.grad.dim(0), .n = factors.right.dim(1), .k = factors.left.dim(0)});
}

Tensor GradientSketch::wiener_state(Context& ctx, std::string_view site) const {
  GHOST_CHECK(ctx.state_store() != nullptr, "residuals.sketch.wiener in {} has nowhere to remember",
              site);
  return ctx.state_store()->get(fmt::format("wiener.{}", site), {2});
}

// The plain estimate has E|dW|^2 = |G|^2 + V with V = p (q + |G|^2), p the probability that two
// rows collide and q = |X|^2 |dY|^2 - 2 sum |x_i|^2 |dy_i|^2. From running means of |dW|^2 and p q:
//   |G|^2 = (|dW|^2 - p q) / (1 + p),   factor = |G|^2 / |dW|^2
double GradientSketch::wiener_factor(Context& ctx, std::string_view site) const {
  constexpr double kDecay = kWienerDecay;
  const double p = sketch_->collision_probability();
  const double q = sketch_->squared_norm_ * squared_norm_ - 2 * norm_products_;
  const Tensor state = wiener_state(ctx, site);
  double* mean = state.data<double>();
  mean[0] =
      kDecay * mean[0] + (1 - kDecay) * cpu::squared_norm_of_product(values_, sketch_->values());
  mean[1] = kDecay * mean[1] + (1 - kDecay) * p * q;
  return mean[0] > 0 ? std::clamp((mean[0] - mean[1]) / ((1 + p) * mean[0]), 0.0, 1.0) : 0.0;
}

}  // namespace ghost
