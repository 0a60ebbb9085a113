#include "engine/autograd/node.h"

#include <algorithm>

#include "engine/autograd/context.h"

namespace ghost {

Node::Node(Context& ctx, std::shared_ptr<const Op> op, Tensors inputs, bool is_recorded)
    : ctx_(&ctx),
      op_(std::move(op)),
      module_(ctx.module()),
      inputs_(std::move(inputs)),
      is_recorded_(is_recorded) {
  inputs_facts_.reserve(inputs_.size());
  for (const Tensor& input : inputs_) {
    inputs_facts_.push_back(input.defined()
                                ? TensorFacts{input.shape(), input.dtype(), input.origin()}
                                : TensorFacts{});
  }
}

const Tensor& Node::input(std::size_t i) const { return inputs_.at(i); }

bool Node::is_recorded_input(std::size_t i) const {
  return is_recorded_ && inputs_.at(i).defined() && ctx_->tape()->records(inputs_[i]);
}

ResidualSpec Node::declared(std::string_view name) const {
  for (const ResidualSpec& spec : op_->residuals()) {
    if (spec.name == name) {
      return spec;
    }
  }
  fail("op {} keeps {} without having declared it", op_->name(), name);
}

bool Node::wants(Keep keep) const {
  return is_recorded_ && ctx_->tape()->plan().keep_for(module_, Role::kLinearInput,
                                                       /*is_cheap_output=*/false) == keep;
}

void Node::keep_sketch(std::string_view name, const Tensor& tensor, const MakeSketch& make) {
  const ResidualSpec spec = declared(name);
  Tape& tape = *ctx_->tape();
  residuals_.push_back({.name = spec.name,
                        .role = spec.role,
                        .keep = Keep::kSketch,
                        .shape = tensor.shape(),
                        .dtype = tensor.dtype(),
                        .sketch = tape.sketch_once(module_, tensor, make)});
}

void Node::keep_ema_sketch(std::string_view name, const Tensor& tensor, const MakeEmaSketch& make) {
  const ResidualSpec spec = declared(name);
  residuals_.push_back({.name = spec.name,
                        .role = spec.role,
                        .keep = Keep::kEmaSketch,
                        .shape = tensor.shape(),
                        .dtype = tensor.dtype(),
                        .sketch = ctx_->tape()->ema_sketch_once(tensor, make)});
}

void Node::keep_sketch(std::string_view name, std::shared_ptr<const ResidualSketch> sketch) {
  const ResidualSpec spec = declared(name);
  residuals_.push_back(
      {.name = spec.name, .role = spec.role, .keep = Keep::kSketch, .sketch = std::move(sketch)});
}

Keep Node::planned_keep(const ResidualSpec& spec, const Tensor& tensor) const {
  const Tape& tape = *ctx_->tape();
  const Keep keep = tape.plan().keep_for(module_, spec.role, tape.is_cheap_output(tensor));
  return spec.may_be_derivative ? keep : without_derivative(keep);
}

Keep Node::planned_keep(std::string_view name, const Tensor& tensor) const {
  return is_recorded_ ? planned_keep(declared(name), tensor) : Keep::kExact;
}

void Node::keep(std::string_view name, const Tensor& tensor) {
  if (!is_recorded_) {
    return;
  }
  const ResidualSpec spec = declared(name);
  if (!tensor.defined()) {  // an absent optional input, a bias as a rule
    residuals_.push_back({.name = spec.name, .role = spec.role});
    return;
  }

  Tape& tape = *ctx_->tape();
  Residual residual{
      .name = spec.name, .role = spec.role, .shape = tensor.shape(), .dtype = tensor.dtype()};
  residual.keep = planned_keep(spec, tensor);
  if (residual.keep == Keep::kBF16 && tensor.dtype() == DType::kBF16) {
    residual.keep = Keep::kExact;
  }
  switch (residual.keep) {
    case Keep::kExact:
      if (tensor.storage()->tag() == MemoryTag::kWorkspace) {
        tensor.storage()->retag(MemoryTag::kResiduals);
      }
      residual.exact = tensor.detach();
      break;
    case Keep::kBF16:
    case Keep::kInt8:
    case Keep::kInt4:
    case Keep::kDerivative8:
    case Keep::kDerivative4:
      residual.encoded = tape.encode_once(*ctx_, tensor, residual.keep);
      break;
    case Keep::kRecompute:
      residual.producer = tensor.origin();
      ++tape.node_at(residual.producer).recompute_users_;
      break;
    case Keep::kSketch:
    case Keep::kEmaSketch:
      fail("{} of {} in {} cannot be kept as a sketch", name, op_->name(), module_);
  }
  residuals_.push_back(std::move(residual));
}

const Node::Residual& Node::find(std::string_view name) const {
  const auto found = std::find_if(residuals_.begin(), residuals_.end(),
                                  [&](const Residual& r) { return r.name == name; });
  GHOST_CHECK(found != residuals_.end(), "op {} in {} has no residual {}", op_->name(), module_,
              name);
  return *found;
}

std::shared_ptr<const ResidualSketch> Node::sketch(std::string_view name) const {
  return find(name).sketch;
}

bool Node::keeps_derivative() const {
  return std::any_of(residuals_.begin(), residuals_.end(),
                     [](const Residual& residual) { return is_derivative(residual.keep); });
}

Tensor Node::residual(std::string_view name) const {
  const Residual& found = find(name);
  switch (found.keep) {
    case Keep::kExact:
      return found.exact;
    case Keep::kBF16:
    case Keep::kInt8:
    case Keep::kInt4:
    case Keep::kDerivative8:
    case Keep::kDerivative4:
      return decode_residual(*found.encoded, found.dtype).reshape(found.shape);
    case Keep::kRecompute:
      return ctx_->tape()->recompute(*ctx_, found.producer).reshape(found.shape);
    case Keep::kSketch:
    case Keep::kEmaSketch:
      break;
  }
  fail("residual {} of {} is a sketch; it has no value of its own", name, module_);
}

std::vector<Node::KeptFacts> Node::kept() const {
  std::vector<KeptFacts> out;
  for (const Residual& residual : residuals_) {
    KeptFacts facts{residual.name, residual.role, residual.keep, residual.shape};
    if (residual.exact.defined()) {
      facts.storage = residual.exact.storage()->serial();
      facts.bytes = residual.exact.bytes();
    } else if (residual.encoded != nullptr) {
      const EncodedResidual& encoded = *residual.encoded;
      facts.storage = encoded.values.storage()->serial();
      facts.bytes =
          encoded.values.bytes() + (encoded.scales.defined() ? encoded.scales.bytes() : 0);
    } else if (residual.sketch != nullptr) {
      facts.storage = reinterpret_cast<std::uintptr_t>(residual.sketch.get());
      facts.bytes = residual.sketch->bytes();
    }
    out.push_back(facts);
  }
  return out;
}

}  // namespace ghost
