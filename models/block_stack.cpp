#include "models/block_stack.h"

#include "engine/autograd/checkpoint.h"
#include "engine/tensor/primitives.h"

namespace ghost {

Tensor BlockStack::forward(Context& ctx, const Tensor& x, std::int64_t begin,
                           std::int64_t end) const {
  Tensor stream = x;
  for (std::int64_t i = begin; i < end; ++i) {
    const Context::Scope scope(ctx, fmt::format("blocks.{}", i));
    const Block* block = blocks_[static_cast<std::size_t>(i)].get();
    stream = checkpoint(ctx, stream, [block](Context& inner, const Tensor& input) {
      return block->forward(inner, input);
    });
  }
  return stream;
}

GenerationState BlockStack::start(Context& ctx, std::int64_t batch, std::int64_t max_length) const {
  GenerationState state{.max_length = max_length};
  for (const auto& block : blocks_) {
    state.blocks.push_back(block->start(ctx, batch, max_length));
  }
  return state;
}

Tensor BlockStack::step(Context& ctx, const Tensor& x, GenerationState& state) const {
  const Context::Recording off(ctx, nullptr);
  Tensor stream = x;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Context::Scope scope(ctx, fmt::format("blocks.{}", i));
    stream = blocks_[i]->step(ctx, stream, *state.blocks[i]);
  }
  const std::int64_t batch = x.dim(0);
  const std::int64_t seq_len = x.dim(1);
  state.length += seq_len;
  const Tensor rows = stream.reshape({batch * seq_len, x.dim(2)});
  const Tensor last = ctx.empty({batch, x.dim(2)}, x.dtype());
  for (std::int64_t b = 0; b < batch; ++b) {
    copy(last.slice(b, b + 1), rows.slice((b + 1) * seq_len - 1, (b + 1) * seq_len));
  }
  return last;
}

}  // namespace ghost
