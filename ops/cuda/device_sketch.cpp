// What RowSketch and GradientSketch do on a GPU: the steps of ops/row_sketch.cpp with every number
// in a tensor. And EmaGradient, of chunks of rows.

#include <cmath>

#include "engine/tensor/primitives.h"
#include "ops/cuda/gemm.h"
#include "ops/ema_sketch.h"
#include "ops/gather_rows_kernels.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/row_groups_kernels.h"
#include "ops/row_sketch.h"
#include "ops/row_sketch_kernels.h"

namespace ghost {
namespace {

Tensor zero_number(const Context& ctx) { return ctx.zeros({1}, DType::kF64, MemoryTag::kSketches); }

/// Where sums for `values` are formed: there, unless it rounds.
Tensor sums_for(const Context& ctx, const Tensor& values) {
  return values.dtype() == DType::kF32 ? values : ctx.empty(values.shape(), DType::kF32);
}

}  // namespace

DeviceBins RowSketch::device_bins(const Context& ctx) const {
  if (given_.has_value()) {
    return cuda::bins_on_device(ctx, *given_);
  }
  if (groups_.group_of.defined()) {
    const DeviceBins groups = cuda::group_bins(ctx, groups_.group_of, groups_.groups_per_level);
    const std::int64_t bins_left = rank() - num_groups();
    return bins_left == 0
               ? groups
               : cuda::joined_bins(ctx, groups,
                                   cuda::hashed_bins(ctx, stream_, rows_, bins_left, config_.hash));
  }
  if (is_dense()) {
    return cuda::covering_bins(ctx, rows_);
  }
  if (config_.rows == SampledRows::kUniform) {
    const Tensor weights = ctx.empty({rank()}, DType::kF32);
    fill(weights, std::sqrt(static_cast<double>(rows_) / static_cast<double>(rank())));
    return cuda::picked_bins(ctx, cuda::drawn_rows(ctx, stream_, rows_, rank(), /*word=*/0),
                             weights, rows_);
  }
  if (picks_by_length()) {
    return cuda::picked_bins(ctx, picked_, device_.pick_weights, rows_);
  }
  return cuda::hashed_bins(ctx, stream_, rows_, rank(), config_.hash);
}

void RowSketch::pick_rows_on_gpu(const Context& ctx, const Tensor& lengths) {
  device_.pick_weights = ctx.empty(picked_.shape(), DType::kF32, MemoryTag::kSketches);
  cuda::row_sketch(ctx, PickRows{.lengths = lengths,
                                 .keeps_largest = config_.rows == SampledRows::kWta,
                                 .stream = stream_,
                                 .picked = picked_,
                                 .weights = device_.pick_weights});
}

void RowSketch::sketch_all_on_gpu(const Context& ctx, const Tensor& x) {
  const DeviceBins bins = device_bins(ctx);
  device_.squared_norm = zero_number(ctx);
  cuda::gather_rows(ctx, DeviceGatherRows{.x = x,
                                          .columns = x.dim(1),
                                          .bins = &bins,
                                          .out = is_dense() ? Tensor{} : values_,
                                          .squared_norm = device_.squared_norm});
  if (is_dense()) {
    multiply_dense(ctx, x, /*first_row=*/0, values_, /*accumulate=*/false);
  }
  device_.gamma = device_gamma(ctx, device_.squared_norm, values_);
}

// S (sum of mu[group]) is a product of two small matrices: how often, with signs, each bin meets
// each group, and mu.
void RowSketch::sketch_groups_on_gpu(const Context& ctx, const Tensor& x, std::int64_t sweeps) {
  const std::int64_t groups = groups_.groups_of_block();
  const std::int64_t columns = values_.dim(1);
  const std::int64_t bins_left = rank() - num_groups();
  DeviceBins hashed;
  if (bins_left > 0) {
    hashed = cuda::hashed_bins(ctx, stream_, rows_, bins_left, config_.hash);
    device_.squared_norm = zero_number(ctx);
  }
  const Tensor sums = sums_for(ctx, values_);
  for (std::int64_t block = 0; block < groups_.blocks; ++block) {
    const Tensor group_of = groups_.of_block(block);
    DeviceBins bins = cuda::group_bins(ctx, group_of, groups_.groups_per_level);
    if (bins_left > 0) {
      bins = cuda::joined_bins(ctx, bins, hashed);
    }
    const Tensor mu = sums.slice(block * groups, (block + 1) * groups);
    cuda::gather_rows(ctx, DeviceGatherRows{.x = x,
                                            .first_column = block * columns,
                                            .columns = columns,
                                            .bins = &bins,
                                            .out = bins_left > 0 ? sums : mu,
                                            .squared_norm = device_.squared_norm});
    cuda::row_groups(ctx, DeviceGroupMeans{.sums = mu,
                                           .group_of = group_of,
                                           .sweeps = sweeps,
                                           .squared_norm = device_.squared_norm});
  }
  if (bins_left > 0) {
    const Tensor weights = ctx.empty({bins_left, groups}, DType::kF32);
    cuda::row_groups(ctx,
                     GroupWeights{.bins = &hashed, .group_of = groups_.group_of, .out = weights});
    cuda::gemm(ctx.device(), {.m = bins_left,
                              .n = columns,
                              .k = groups,
                              .a = cuda::matrix_of(weights),
                              .b = cuda::matrix_of(sums.slice(0, groups)),
                              .c = cuda::matrix_of(sums.slice(groups, rank())),
                              .alpha = -1,
                              .beta = 1});
  }
  if (values_.dtype() != DType::kF32) {
    cast(values_, sums);
  }
  if (bins_left > 0) {
    device_.gamma = device_gamma(ctx, device_.squared_norm, values_.slice(groups, rank()));
  }
}

Tensor RowSketch::device_gamma(const Context& ctx, const Tensor& squared_norm,
                               const Tensor& sketched) const {
  if (!config_.invariant) {
    return {};
  }
  const Tensor gamma = ctx.empty({1}, DType::kF64, MemoryTag::kSketches);
  cuda::row_sketch(ctx, SketchGamma{.squared_norm = squared_norm,
                                    .sketch = sketched,
                                    .eps = kNormEps,
                                    .gamma_max = config_.gamma_max,
                                    .gamma = gamma});
  return gamma;
}

void GradientSketch::add_on_gpu(const Context& ctx, const Tensor& dy, std::int64_t first_row,
                                const std::optional<GradientTarget>& dbias) {
  const std::int64_t columns = values_.dim(1);
  const bool accumulate = first_row > 0;
  const bool dense = sketch_->is_dense();
  const Tensor out = device_.sums.defined() ? device_.sums : values_;
  DeviceGatherRows args{.x = dy,
                        .columns = columns,
                        .first_row = first_row,
                        .bins = &device_.bins,
                        .out = dense ? Tensor{} : out,
                        .accumulate = accumulate,
                        .squared_norm = device_.squared_norm};
  if (dbias.has_value()) {
    args.column_sums = dbias->grad;
    args.accumulate_column_sums = dbias->accumulate || accumulate;
  }
  cuda::gather_rows(ctx, args);
  if (dense) {
    sketch_->multiply_dense(ctx, dy, first_row, out, accumulate);
  }
  if (sketch_->row_norms_.defined()) {
    const std::int64_t last_row = first_row + dy.dim(0);
    const Tensor norms = ctx.empty({dy.dim(0)}, DType::kF32);
    cuda::gather_rows(RowNorms{.x = dy, .out = norms}, columns);
    cuda::row_sketch(ctx, NormProducts{.x_norms = sketch_->row_norms_.slice(first_row, last_row),
                                       .dy_norms = norms,
                                       .sum = device_.norm_products});
  }
}

void GradientSketch::form_on_gpu(const Context& ctx,
                                 const std::function<void(const LogitsSketch&)>& fill) {
  device_.sums = sums_for(ctx, values_);
  LogitsSketch target;
  target.add = [&](const Tensor& dlogits, std::int64_t first_row) {
    add_on_gpu(ctx, dlogits, first_row, {});
  };
  fill(target);
  if (values_.dtype() != DType::kF32) {
    cast(values_, device_.sums);
  }
  // The object is kept until backward, which needs neither.
  device_.sums = {};
  device_.bins = {};
}

void GradientSketch::write_on_gpu(Context& ctx, const GradientTarget& dweight,
                                  std::string_view site, const Tensor& cotangent) const {
  const SketchConfig& config = sketch_->config_;
  const std::int64_t groups = sketch_->num_groups();
  const std::int64_t rank = sketch_->rank();
  ScaleSketch scale{.constant = config.scale * (1 - config.lambda) * (1 - config.lambda),
                    .cotangent = cotangent};
  const auto add_product = [&](std::int64_t begin, std::int64_t end, std::int64_t first_column,
                               bool accumulate) {
    scale.x = values_.slice(begin, end);
    scale.out = ctx.empty(scale.x.shape(), sketch_->values().dtype());
    cuda::row_sketch(ctx, scale);
    cuda::gemm(ctx.device(), {.m = dweight.grad.dim(0),
                              .n = sketch_->values().dim(1),
                              .k = end - begin,
                              .a = cuda::matrix_of(scale.out, cuda::Transpose::kYes),
                              .b = cuda::matrix_of(sketch_->values().slice(begin, end)),
                              .c = cuda::matrix_of(dweight.grad, first_column),
                              .beta = accumulate ? 1.0F : 0.0F});
  };
  const RowGroups& of = sketch_->groups_;
  for (std::int64_t block = 0; groups > 0 && block < of.blocks; ++block) {
    add_product(block * of.groups_of_block(), (block + 1) * of.groups_of_block(),
                block * sketch_->values().dim(1), dweight.accumulate);
  }
  if (rank == groups) {
    return;
  }
  scale.factors[0] = sketch_->device_.gamma;
  scale.factors[1] = sketch_->device_gamma(ctx, device_.squared_norm, values_.slice(groups, rank));
  if (config.wiener) {
    scale.factors[2] = ctx.empty({1}, DType::kF64);
    cuda::row_sketch(ctx, WienerFactor{.dy = values_,
                                       .x = sketch_->values(),
                                       .x_squared = sketch_->device_.squared_norm,
                                       .dy_squared = device_.squared_norm,
                                       .norm_products = device_.norm_products,
                                       .collision = sketch_->collision_probability(),
                                       .decay = kWienerDecay,
                                       .means = wiener_state(ctx, site),
                                       .factor = scale.factors[2]});
  }
  add_product(groups, rank, 0, dweight.accumulate || groups > 0);
}

void EmaGradient::form_on_gpu(const Context& ctx,
                              const std::function<void(const LogitsSketch&)>& fill) {
  const Tensor sums = sums_for(ctx, values_);
  LogitsSketch target;
  target.add = [&](const Tensor& dlogits, std::int64_t first_row) {
    const Tensor u = factors_.u.slice(first_row, first_row + dlogits.dim(0));
    cuda::gemm(ctx.device(), {.m = sums.dim(0),
                              .n = sums.dim(1),
                              .k = dlogits.dim(0),
                              .a = cuda::matrix_of(u, cuda::Transpose::kYes),
                              .b = cuda::matrix_of(dlogits),  // its last columns are padding
                              .c = cuda::matrix_of(sums),
                              .beta = first_row > 0 ? 1.0F : 0.0F});
  };
  fill(target);
  if (values_.dtype() != sums.dtype()) {
    cast(values_, sums);
  }
}

}  // namespace ghost
