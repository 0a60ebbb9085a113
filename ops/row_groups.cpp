#include "ops/row_groups.h"

#include <algorithm>

#include "engine/tensor/primitives.h"
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

void form_nearest_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                         const RowGroups& groups, const RandomStream& stream) {
  const std::int64_t elements_at_once = ctx.device().is_cpu() ? 1 << 18 : 1 << 24;
  const std::int64_t channels = x.dim(-1);
  const std::int64_t rows = x.numel() / channels;
  const bool has_labels = config.features == GroupFeatures::kInputTarget;
  const bool is_projected = config.projection > 0 && config.projection < channels;
  const bool has_means = groups.levels > 1 || config.kmeans_rounds > 0;
  const std::int64_t projection = is_projected ? config.projection : channels;
  const std::int64_t samples =
      std::min(rows, groups.num_groups() * (has_means ? config.samples : 1));
  const std::int64_t at_once =
      std::min(rows, std::max<std::int64_t>(elements_at_once / samples, 64));
  const DType dtype = statistic_dtype(x.dtype());
  Tensor features;
  if (has_labels || is_projected) {
    features = ctx.empty({rows, projection + (has_labels ? kLabelCode : 0)}, dtype);
  }
  const Tensor& compared = features.defined() ? features : x;
  launch(ctx, NearestGroups{.x = x,
                            .labels = has_labels ? labels_of(ctx, config, rows) : Tensor{},
                            .features = features,
                            .sample = ctx.empty({samples, compared.dim(-1)}, compared.dtype()),
                            .gram = has_means ? ctx.empty({samples, samples}, dtype) : Tensor{},
                            .products = ctx.empty({samples, at_once}, dtype),
                            .group_of = groups.group_of,
                            .groups_of_level = groups.groups_per_level,
                            .projection = projection,
                            .kmeans_rounds = config.kmeans_rounds,
                            .label_weight = config.target_weight,
                            .stream = stream});
}

}  // namespace

RowGroups form_groups(const Context& ctx, const Tensor& x, const SketchConfig& config,
                      std::int64_t max_groups, const RandomStream& stream) {
  constexpr std::int64_t kMostGroups = 65536;  // the index of a group has 16 bits
  const std::int64_t channels = x.dim(-1);
  const std::int64_t rows = x.numel() / channels;
  RowGroups groups;
  groups.levels = config.center == Centering::kNearest ? std::min(config.levels, max_groups) : 1;
  groups.groups_per_level = config.center == Centering::kMean
                                ? 1
                                : std::min({max_groups / groups.levels, rows, kMostGroups});
  groups.group_of = ctx.empty({groups.levels, rows}, DType::kU16, MemoryTag::kSketches);
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
