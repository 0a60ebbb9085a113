#include "tools/inspect/memory_plan.h"

#include <set>

#include "tools/train/training_step.h"

namespace ghost {
namespace {

/// Blocks, or layers of a model without blocks.
bool is_in_block(std::string_view module) {
  return module.starts_with("blocks.") || module.starts_with("layers.") ||
         module.starts_with("convs.");
}

}  // namespace

double MemoryPlan::block_bytes(bool with_statistics) const {
  double sum = 0;
  for (const auto& [role, bytes] : block_bytes_per_token) {
    if (with_statistics || role != role_name(Role::kStatistic)) {
      sum += bytes;
    }
  }
  return sum;
}

double gemm_flops(const GemmCounts& gemms) {
  double sum = 0;
  for (const auto& [shape, count] : gemms) {
    sum += static_cast<double>(shape.flops()) * static_cast<double>(count);
  }
  return sum;
}

MemoryPlan plan_memory(const Config& config, const DataFacts& data) {
  const auto model = make_any_model(config.model, data);
  Device device = read_device(config.device);
  device.is_dry = true;
  TrainingStep step(config, *model, device);
  Context& ctx = step.context();
  MemoryPlan plan;
  ctx.attach_gemm_counts(&plan.gemms);
  step.run(/*step=*/0, {});
  ctx.attach_gemm_counts(nullptr);
  const MemoryMeter& meter = ctx.meter();
  for (int tag = 0; tag < kNumMemoryTags; ++tag) {
    plan.peak[static_cast<std::size_t>(tag)] = meter.peak(static_cast<MemoryTag>(tag));
  }
  plan.at_total_peak = meter.at_total_peak();
  plan.total_peak = meter.total_peak();
  plan.kept_peak = meter.kept_peak();

  // One forward pass more, to see what the blocks keep.
  Tape tape(ResidualPlan(config.residuals));
  const Context::Recording recording(ctx, &tape);
  const Batch batch(ctx, model->batch_layout(config.train.batch_size, config.train.seq_len,
                                             activation_dtype(config.train.dtype)));
  const Tensor loss = model->loss(ctx, batch.inputs(), batch.targets());
  const auto tokens_of_blocks =
      static_cast<double>(config.train.batch_size * config.train.seq_len * model->num_layers());
  std::int64_t sketch_bytes = 0;
  std::set<std::uint64_t> counted;
  for (const Node& node : tape.nodes()) {
    if (!is_in_block(node.module())) {
      continue;
    }
    for (const Node::KeptFacts& kept : node.kept()) {
      if (kept.role == Role::kParameter || kept.storage == 0 ||
          !counted.insert(kept.storage).second) {
        continue;
      }
      if (is_sketch(kept.keep)) {
        sketch_bytes += kept.bytes;
      } else {
        plan.block_bytes_per_token[std::string(role_name(kept.role))] +=
            static_cast<double>(kept.bytes) / tokens_of_blocks;
      }
    }
  }
  plan.block_sketch_bytes = sketch_bytes / model->num_layers();
  return plan;
}

}  // namespace ghost
