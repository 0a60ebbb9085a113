#include "engine/autograd/context.h"

#include <algorithm>

#include "engine/tensor/primitives.h"

namespace ghost {

Context::Context(const Device& device) : Context(make_allocator(device)) {}

Context::Context(std::shared_ptr<Allocator> allocator) : allocator_(std::move(allocator)) {}

Tensor Context::empty(const Shape& shape, DType dtype, MemoryTag tag) const {
  return Tensor(allocator_, shape, dtype, tag);
}

Tensor Context::zeros(const Shape& shape, DType dtype, MemoryTag tag) const {
  Tensor out = empty(shape, dtype, tag);
  fill_zero(out);
  return out;
}

Tensor Context::use(Parameter& parameter) const {
  const bool is_leaf = tape_ != nullptr && !parameter.is_frozen;
  return is_leaf ? tape_->use(parameter) : parameter.used();
}

Tensors Context::run(std::shared_ptr<const Op> op, Tensors inputs) {
  const bool is_recorded =
      tape_ != nullptr && std::any_of(inputs.begin(), inputs.end(), [&](const Tensor& input) {
        return input.defined() && tape_->records(input);
      });
  const Op& rule = *op;
  Node node(*this, std::move(op), std::move(inputs), is_recorded);
  if (timer_ != nullptr) {
    timer_->begin();
  }
  Tensors outputs = rule.forward(*this, node);
  if (timer_ != nullptr) {
    timer_->end_forward(node, outputs);
  }
  if (observer_ && needs_outputs()) {
    observer_(node, outputs);
  }
  if (is_recorded) {
    tape_->append(std::move(node), outputs);
  }
  return outputs;
}

void Context::begin_pass(std::uint64_t seed, std::int64_t step, std::int64_t micro_step,
                         std::int64_t rank) {
  GHOST_CHECK(step >= 0 && micro_step >= 0 && micro_step < 256 && rank >= 0 && rank < 256,
              "random draws for step {}, micro-step {}, rank {}; micro-steps and ranks are counted "
              "to 255",
              step, micro_step, rank);
  stream_ = {.seed = seed, .step = step, .micro_step = micro_step, .rank = rank};
  store_site_ = 0;
}

RandomStream Context::next_stream(Purpose purpose) {
  RandomStream stream = stream_;
  stream.purpose = purpose;
  const bool is_of_store = purpose == Purpose::kRounding || purpose == Purpose::kSketch;
  stream.site = is_of_store ? store_site_++ : stream_.site++;
  GHOST_CHECK(stream.site < 65536, "more than 65536 ops of one forward pass draw random numbers");
  return stream;
}

Context::Scope::Scope(Context& ctx, std::string_view name)
    : ctx_(ctx), length_(ctx.module_.size()) {
  if (!ctx_.module_.empty() && !name.empty()) {
    ctx_.module_ += '.';
  }
  ctx_.module_ += name;
}

}  // namespace ghost
