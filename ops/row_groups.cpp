#include "ops/row_groups.h"

#include <algorithm>

#include "engine/tensor/primitives.h"
#include "ops/in_dtype.h"
#include "ops/row_groups_kernels.h"

namespace ghost {
namespace {

constexpr std::int64_t kLabelCode = 16;  // signs that stand for a label

// The only lines here that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::row_groups(args); }, [&] { cuda::row_groups(ctx, args); });
}

const Tensor& labels_of(const Context& ctx, const SketchConfig& config, std::int64_t rows) {
  const Tensor& labels =
      config.center == Centering::kToken ? ctx.row_labels().tokens : ctx.row_labels().targets;
  GHOST_CHECK(labels.defined() && labels.numel() == rows,
              "residuals.sketch.center is {} in {}: {} rows have {} labels; expected one a row",
              enum_name(config.center), ctx.module(), rows, labels.defined() ? labels.numel() : 0);
  return labels;
}

Tensor drawn_samples(const Context& ctx, const RandomStream& stream, std::int64_t rows,
                     std::int64_t samples) {
  Tensor drawn = ctx.empty({samples}, DType::kI32);
  dispatch(
      ctx,
      [&] {
        std::ranges::copy(drawn_rows(stream, rows, samples, kSampleWord),
                          drawn.data<std::int32_t>());
      },
      [&] { drawn = cuda::drawn_rows(ctx, stream, rows, samples, kSampleWord); });
  return drawn;
}

/// How many rows meet the codewords at once: some cache full, and not a power of two apart.
std::int64_t rows_at_once(const Context& ctx, std::int64_t codewords) {
  constexpr std::int64_t kLanes = 64;
  const std::int64_t elements = ctx.device().is_cpu() ? 1 << 16 : 1 << 24;
  return kLanes * (elements / codewords / kLanes | 1);
}

void form_nearest_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                         const RowGroups& groups, const RandomStream& stream) {
  const std::int64_t rows = groups.group_of.dim(1);
  const std::int64_t blocks = groups.blocks;
  const std::int64_t channels = x.dim(-1) / blocks;
  const bool has_labels = config.features == GroupFeatures::kInputTarget;
  const bool is_projected = config.projection > 0 && config.projection < channels;
  const std::int64_t projection = is_projected ? config.projection : channels;
  const bool is_trained = groups.levels > 1 || config.kmeans_rounds > 0;
  const std::int64_t codewords = groups.groups_of_block();
  const std::int64_t samples = std::min(rows, codewords * (is_trained ? config.samples : 1));
  const DType dtype = statistic_dtype(x.dtype());
  // A CPU compares rows in the dtype of codewords.
  const Tensor compared = ctx.device().is_cuda() ? x : in_dtype(ctx, x, dtype);
  Tensor features;
  if (has_labels || is_projected) {
    features = ctx.empty({blocks, rows, projection + (has_labels ? kLabelCode : 0)}, dtype);
  }
  const std::int64_t width = features.defined() ? features.dim(2) : channels;
  launch(ctx, NearestGroups{
                  .x = compared.reshape({rows, channels * blocks}),
                  .labels = has_labels ? labels_of(ctx, config, rows) : Tensor{},
                  .features = features,
                  .drawn = drawn_samples(ctx, stream, rows, samples),
                  .sample = ctx.empty({blocks, samples, width}, dtype),
                  .codewords = ctx.empty({blocks, codewords, width}, dtype),
                  .products = ctx.empty({blocks, codewords, rows_at_once(ctx, codewords)}, dtype),
                  .group_of = groups.group_of.reshape({blocks, groups.levels, rows}),
                  .groups_of_level = groups.groups_per_level,
                  .projection = projection,
                  .kmeans_rounds = config.kmeans_rounds,
                  .refits = config.refits,
                  .label_weight = config.target_weight,
                  .stream = stream});
}

}  // namespace

NearestGroupsOfBlock::NearestGroupsOfBlock(const NearestGroups& all, std::int64_t block)
    : NearestGroups(all),
      channels(all.x.dim(1) / all.group_of.dim(0)),
      first_column(block * channels) {
  for (Tensor NearestGroups::*part :
       {&NearestGroups::features, &NearestGroups::sample, &NearestGroups::codewords,
        &NearestGroups::products, &NearestGroups::group_of}) {
    if (const Tensor& whole = all.*part; whole.defined()) {
      this->*part = whole.slice(block, block + 1).reshape({whole.dim(1), whole.dim(2)});
    }
  }
}

RowGroups form_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                      std::int64_t max_groups, const RandomStream& stream) {
  constexpr std::int64_t kMostGroups = 65536;  // the index of a group has 16 bits
  const std::int64_t channels = x.dim(-1);
  const std::int64_t rows = x.numel() / channels;
  RowGroups groups;
  groups.levels = config.center == Centering::kNearest ? std::min(config.levels, max_groups) : 1;
  groups.blocks = config.center == Centering::kNearest ? config.blocks : 1;
  if (channels % groups.blocks != 0) {
    fail<ConfigError>(
        "residuals.sketch.blocks is {} in {}: {} channels; expected a number that divides them",
        groups.blocks, ctx.module(), channels);
  }
  groups.groups_per_level = config.center == Centering::kMean
                                ? 1
                                : std::min({max_groups / groups.levels, rows, kMostGroups});
  groups.group_of =
      ctx.empty({groups.blocks * groups.levels, rows}, DType::kU16, MemoryTag::kSketches);
  switch (config.center) {
    case Centering::kNone:
    case Centering::kMean:
      fill_zero(groups.group_of);
      break;
    case Centering::kToken:
    case Centering::kTarget:
      launch(ctx, LabelGroups{.labels = labels_of(ctx, config, rows),
                              .group_of = groups.group_of,
                              .num_groups = groups.groups_per_level});
      break;
    case Centering::kNearest:
      form_nearest_groups(ctx, x, config, groups, stream);
      break;
  }
  return groups;
}

}  // namespace ghost
