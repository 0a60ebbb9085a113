#include "tools/bench/random_batches.h"

#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

/// Indices below `bound`, or numbers of 0 to 1.
Tensor draw(const Shape& shape, DType dtype, const RandomStream& stream, std::size_t word,
            std::int64_t bound) {
  const bool are_indices = !is_floating(dtype);
  const Context host{Device{}};
  const Tensor drawn =
      host.empty(shape, are_indices ? DType::kI32 : DType::kF32, MemoryTag::kBatch);
  for (std::int64_t i = 0; i < drawn.numel(); ++i) {
    const std::uint32_t bits = stream.words(static_cast<std::uint32_t>(i))[word];
    if (are_indices) {
      drawn.data<std::int32_t>()[i] =
          static_cast<std::int32_t>(bits * static_cast<std::uint64_t>(bound) >> 32);
    } else {
      drawn.data<float>()[i] = uniform_from(bits);
    }
  }
  return drawn;
}

}  // namespace

RandomBatches::RandomBatches(const Config& config, const Model& model) {
  const BatchLayout layout = model.batch_layout(config.train.batch_size, config.train.seq_len,
                                                activation_dtype(config.train.dtype));
  for (std::int64_t micro_step = 0; micro_step < config.train.micro_steps; ++micro_step) {
    const RandomStream stream{.seed = static_cast<std::uint64_t>(config.train.seed),
                              .micro_step = micro_step,
                              .purpose = Purpose::kBatch};
    const auto half = [&](const Shape& shape, DType dtype, std::size_t word) {
      return draw(shape, dtype, stream, word, model.index_bound());
    };
    batches_.push_back({.inputs = half(layout.inputs, layout.input_dtype, 0),
                        .targets = half(layout.targets, layout.target_dtype, 1)});
  }
}

void RandomBatches::fill(std::int64_t micro_step, const HostElements& inputs,
                         const HostElements& targets) const {
  const Drawn& drawn = batches_.at(static_cast<std::size_t>(micro_step));
  copy(inputs.tensor(), drawn.inputs);
  copy(targets.tensor(), drawn.targets);
}

}  // namespace ghost
