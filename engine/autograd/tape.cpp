#include "engine/autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "engine/autograd/context.h"
#include "engine/autograd/parameter.h"
#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

std::uint64_t next_tape_serial() {
  static std::atomic<std::uint64_t> last{0};  // identity only: no behaviour hangs on it
  return ++last;
}

/// A leaf of the graph: a parameter or a watched tensor.
class Leaf final : public Op {
 public:
  std::string_view name() const override { return "leaf"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& /*ctx*/, Node& node) const override { return {node.input(0)}; }
  void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& /*pullback*/) const override {}
};

}  // namespace

std::size_t Tape::EncodedKeyHash::operator()(const EncodedKey& key) const {
  return std::hash<std::uint64_t>{}(key.storage * 31 +
                                    static_cast<std::uint64_t>(key.offset + key.numel) * 7 +
                                    static_cast<std::uint64_t>(key.keep));
}

Tape::Tape(ResidualPlan plan) : plan_(std::move(plan)), serial_(next_tape_serial()) {}

void Tape::append(Node&& node, Tensors& outputs) {
  const auto index = static_cast<std::int32_t>(nodes_.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Origin origin{.tape = serial_, .node = index, .output = static_cast<std::int32_t>(i)};
    outputs[i] = outputs[i].with_origin(origin);
    node.outputs_facts_.push_back({outputs[i].shape(), outputs[i].dtype(), origin});
  }
  node.inputs_.clear();  // backward has residuals and nothing else
  nodes_.push_back(std::move(node));
}

Tensor Tape::watch(const Tensor& leaf) {
  const auto index = static_cast<std::int32_t>(nodes_.size());
  const Origin origin{.tape = serial_, .node = index};
  Tensor watched = leaf.with_origin(origin);
  Context ctx(leaf.storage()->shared_allocator());
  Node node(ctx, std::make_shared<Leaf>(), {}, /*is_recorded=*/true);
  node.outputs_facts_.push_back({leaf.shape(), leaf.dtype(), origin});
  nodes_.push_back(std::move(node));
  return watched;
}

Tensor Tape::use(Parameter& parameter) {
  const auto known = parameter_leaves_.find(&parameter);
  if (known != parameter_leaves_.end()) {
    return parameter.used().with_origin({.tape = serial_, .node = known->second});
  }
  Tensor leaf = watch(parameter.used());
  nodes_.back().parameter_ = &parameter;
  parameter_leaves_.emplace(&parameter, leaf.origin().node);
  return leaf;
}

bool Tape::is_cheap_output(const Tensor& tensor) const {
  if (!records(tensor) || tensor.origin().output != 0) {
    return false;
  }
  const Node& producer = nodes_[static_cast<std::size_t>(tensor.origin().node)];
  return producer.op().is_cheap() && !producer.keeps_derivative();
}

Tensor Tape::recompute(Context& ctx, const Origin& producer) {
  Node& node = node_at(producer);
  if (node.recomputed_.defined()) {
    return node.recomputed_;
  }
  node.ctx_ = &ctx;
  Tensor output = node.op().recompute(ctx, node);
  if (node.recompute_users_ > 1) {
    node.recomputed_ = output;
  }
  return output;
}

std::shared_ptr<const EncodedResidual> Tape::encode_once(Context& ctx, const Tensor& tensor,
                                                         Keep keep) {
  const EncodedKey key{tensor.storage()->serial(), tensor.offset(), tensor.numel(), keep};
  if (auto shared = encoded_[key].lock()) {
    return shared;
  }
  auto encoded = std::make_shared<const EncodedResidual>(
      encode_residual(tensor, keep, plan_.group(), ctx.next_stream(Purpose::kRounding)));
  encoded_[key] = encoded;
  return encoded;
}

std::shared_ptr<const ResidualSketch> Tape::sketch_once(std::string_view module,
                                                        const Tensor& tensor,
                                                        const Node::MakeSketch& make) {
  const SketchConfig config = plan_.sketch_for(module);
  const EncodedKey key{.storage = tensor.storage()->serial(),
                       .offset = tensor.offset(),
                       .numel = tensor.numel(),
                       .keep = Keep::kSketch,
                       .rank = config.rank,
                       .rank_fraction = config.rank_fraction.value_or(0)};
  if (auto shared = sketches_[key].lock()) {
    return shared;
  }
  auto sketch = make(config);
  sketches_[key] = sketch;
  return sketch;
}

std::shared_ptr<const ResidualSketch> Tape::ema_sketch_once(const Tensor& tensor,
                                                            const Node::MakeEmaSketch& make) {
  const EncodedKey key{.storage = tensor.storage()->serial(),
                       .offset = tensor.offset(),
                       .numel = tensor.numel(),
                       .keep = Keep::kEmaSketch};
  if (auto shared = sketches_[key].lock()) {
    return shared;
  }
  auto sketch = make(last_ema_sketch_.lock());
  sketches_[key] = sketch;
  last_ema_sketch_ = sketch;
  return sketch;
}

/// One call of one node's rule.
class Tape::NodePullback final : public Pullback {
 public:
  NodePullback(Context& ctx, Tape& tape, Node& node, const std::vector<char>& is_reached,
               Parameters parameters, std::int64_t basis_size)
      : ctx_(ctx),
        tape_(tape),
        node_(node),
        is_reached_(is_reached),
        parameters_(parameters),
        basis_size_(basis_size) {}

  std::int64_t basis_size() const override { return basis_size_; }

  Tensor dy(std::size_t output) override {
    Tensor& cotangent = node_.cotangents_.at(output);
    if (!cotangent.defined()) {
      const TensorFacts& facts = node_.outputs_facts_[output];
      cotangent = ctx_.zeros(facts.shape.with_first(basis_size_), facts.dtype);
    }
    return cotangent;
  }

  bool wanted(std::size_t input) const override {
    const Origin& origin = node_.inputs_facts_.at(input).origin;
    return origin.tape == tape_.serial_ && is_reached_[static_cast<std::size_t>(origin.node)] != 0;
  }

  void give(std::size_t input, Tensor dx) override {
    if (!wanted(input) || !dx.defined()) {
      return;
    }
    const Origin& to = node_.inputs_facts_[input].origin;
    const bool is_same = ctx_.timer() != nullptr && is_handed_on(dx);
    hands_on_ = hands_on_ || is_same;
    tape_.add_cotangent(to, std::move(dx));
    if (ctx_.timer() != nullptr && !is_same) {
      made_.push_back(tape_.node_at(to).cotangents_[static_cast<std::size_t>(to.output)]);
    }
  }

  GradientTarget target(std::size_t input) override {
    GradientTarget found = sparse_target(input);
    if (found.zeros != nullptr) {
      found.zeros->forget(found.offset, found.offset + found.grad.numel());
      found.zeros = nullptr;
    }
    if (ctx_.timer() != nullptr) {
      made_.push_back(found.grad);
    }
    return found;
  }

  GradientTarget sparse_target(std::size_t input) override {
    const TensorFacts& facts = node_.inputs_facts_.at(input);
    GHOST_CHECK(basis_size_ == 1,
                "the gradient of a weight of {} was asked for {} cotangents at once; expected 1",
                node_.op().name(), basis_size_);
    Node& leaf = tape_.node_at(facts.origin);
    if (leaf.parameter_ != nullptr && wants_parameters()) {
      Parameter& parameter = *leaf.parameter_;
      const bool accumulate = parameter.claim_sparse_grad();
      return {.grad = parameter.grad,
              .accumulate = accumulate,
              .zeros = parameter.zeros,
              .offset = parameter.offset};
    }
    const DType dtype = statistic_dtype(facts.dtype);
    Tensor& pending = leaf.cotangents_[static_cast<std::size_t>(facts.origin.output)];
    if (pending.defined()) {
      if (pending.storage().use_count() > 1 || pending.dtype() != dtype) {
        Tensor own = ctx_.empty(pending.shape(), dtype);  // the op is going to add in place
        cast(own, pending);
        pending = std::move(own);
      }
      return {.grad = pending.reshape(facts.shape), .accumulate = true};
    }
    pending = ctx_.empty(
        leaf.outputs_facts_[static_cast<std::size_t>(facts.origin.output)].shape.with_first(1),
        dtype);
    return {.grad = pending.reshape(facts.shape), .accumulate = false};
  }

  bool wants_parameters() const override { return parameters_ == Parameters::kAccumulate; }

  /// Tells a timer that the rule has run.
  void end(StepTimer& timer) {
    const bool is_idle = hands_on_ && made_.empty();  // nothing was read
    Tensors cotangents = is_idle ? Tensors{} : node_.cotangents_;
    std::move(made_.begin(), made_.end(), std::back_inserter(cotangents));
    timer.end_backward(node_, cotangents);
  }

 private:
  /// Whether a cotangent of an input is one of an output.
  bool is_handed_on(const Tensor& dx) const {
    return std::any_of(node_.cotangents_.begin(), node_.cotangents_.end(), [&](const Tensor& dy) {
      return dy.defined() && dy.storage() == dx.storage();
    });
  }

  Context& ctx_;
  Tape& tape_;
  Node& node_;
  const std::vector<char>& is_reached_;
  Parameters parameters_;
  std::int64_t basis_size_;
  // Where somebody times: whether cotangents of inputs are those of outputs, and the other ones,
  // but for sparse gradients.
  bool hands_on_ = false;
  Tensors made_;
};

void Tape::add_cotangent(const Origin& to, Tensor cotangent) {
  Node& node = node_at(to);
  const auto output = static_cast<std::size_t>(to.output);
  const TensorFacts& facts = node.outputs_facts_[output];
  // The consumer may have seen the tensor under another shape of equal size.
  cotangent = cotangent.reshape(facts.shape.with_first(cotangent.dim(0)));
  Tensor& pending = node.cotangents_[output];
  if (!pending.defined()) {
    pending = std::move(cotangent);
    return;
  }
  // Adding in place is only safe where nobody else holds the elements (a residual add hands the
  // same cotangent to both of its inputs).
  if (pending.storage().use_count() == 1) {
    accumulate(pending, cotangent);
  } else if (cotangent.storage().use_count() == 1 && cotangent.dtype() == pending.dtype()) {
    accumulate(cotangent, pending);
    pending = std::move(cotangent);
  } else {
    Tensor sum(pending.storage()->shared_allocator(), pending.shape(), pending.dtype(),
               MemoryTag::kWorkspace);
    copy(sum, pending);
    accumulate(sum, cotangent);
    pending = std::move(sum);
  }
}

void Tape::deposit(Node& leaf, std::int64_t basis_size) {
  GHOST_CHECK(basis_size == 1, "the gradient of {} was asked for {} cotangents at once; expected 1",
              leaf.parameter_->name, basis_size);
  const Tensor& grad = leaf.parameter_->grad;
  if (leaf.parameter_->claim_grad()) {
    accumulate(grad, leaf.cotangents_[0]);
  } else {
    cast(grad, leaf.cotangents_[0]);
  }
}

void Tape::release(Node& node) {
  for (const Node::Residual& residual : node.residuals_) {
    if (residual.keep == Keep::kRecompute) {
      --node_at(residual.producer).recompute_users_;
    }
  }
  node.residuals_.clear();
}

void Tape::backward(Context& ctx, const Tensor& output, double seed) {
  GHOST_CHECK(output.numel() == 1, "backward from a tensor of shape {}; expected a scalar",
              output.shape());
  Tensor cotangent = ctx.empty({1, 1}, output.dtype());
  fill(cotangent, seed);
  propagate(ctx, std::span(&output, 1), std::span(&cotangent, 1), {}, Parameters::kAccumulate,
            Release::kYes);
}

Tensors Tape::vjp(Context& ctx, std::span<const Tensor> outputs, std::span<const Tensor> cotangents,
                  std::span<const Tensor> inputs) {
  return propagate(ctx, outputs, cotangents, inputs, Parameters::kSkip, Release::kNo);
}

Tensors Tape::pull(Context& ctx, std::span<const Tensor> outputs,
                   std::span<const Tensor> cotangents, std::span<const Tensor> inputs,
                   Parameters parameters) {
  return propagate(ctx, outputs, cotangents, inputs, parameters, Release::kYes);
}

Tensors Tape::propagate(Context& ctx, std::span<const Tensor> outputs,
                        std::span<const Tensor> cotangents, std::span<const Tensor> inputs,
                        Parameters parameters, Release release_residuals) {
  GHOST_CHECK(outputs.size() == cotangents.size() && !outputs.empty(),
              "backward from {} outputs with {} cotangents; expected one for each", outputs.size(),
              cotangents.size());
  const std::int64_t basis_size = cotangents[0].dim(0);

  // Nodes from which a wanted input can be reached.
  std::vector<char> is_reached(nodes_.size(), 0);
  for (const Tensor& input : inputs) {
    GHOST_CHECK(records(input), "the cotangent of a tensor was asked for that is not on the tape");
    is_reached[static_cast<std::size_t>(input.origin().node)] = 1;
  }
  std::size_t end = 0;
  for (const Tensor& output : outputs) {
    GHOST_CHECK(records(output), "backward from a tensor that is not on the tape");
    end = std::max(end, static_cast<std::size_t>(output.origin().node) + 1);
  }
  for (std::size_t i = 0; i < end; ++i) {
    Node& node = nodes_[i];
    if (parameters == Parameters::kAccumulate &&
        (node.parameter_ != nullptr || node.op().holds_parameters())) {
      is_reached[i] = 1;
    }
    for (const TensorFacts& facts : node.inputs_facts_) {
      if (facts.origin.tape == serial_ &&
          is_reached[static_cast<std::size_t>(facts.origin.node)] != 0) {
        is_reached[i] = 1;
      }
    }
    node.cotangents_.assign(node.outputs_facts_.size(), Tensor{});
  }

  for (std::size_t i = 0; i < outputs.size(); ++i) {
    GHOST_CHECK(cotangents[i].numel() == basis_size * outputs[i].numel(),
                "a cotangent of shape {} for an output of shape {}; expected [P, ...] with P = {}",
                cotangents[i].shape(), outputs[i].shape(), basis_size);
    add_cotangent(outputs[i].origin(), cotangents[i]);
  }

  const Context::Recording recording(ctx, this);  // residuals are read through this tape
  Tensors results(inputs.size());
  for (std::size_t i = end; i-- > 0;) {
    Node& node = nodes_[i];
    const bool has_cotangent =
        std::any_of(node.cotangents_.begin(), node.cotangents_.end(),
                    [](const Tensor& cotangent) { return cotangent.defined(); });
    if (has_cotangent && is_reached[i] != 0) {
      for (std::size_t j = 0; j < inputs.size(); ++j) {
        if (inputs[j].origin().node == static_cast<std::int32_t>(i)) {
          results[j] = node.cotangents_[static_cast<std::size_t>(inputs[j].origin().output)];
        }
      }
      if (ctx.timer() != nullptr) {
        ctx.timer()->begin();
      }
      if (node.parameter_ != nullptr && parameters == Parameters::kAccumulate) {
        deposit(node, basis_size);
      }
      node.ctx_ = &ctx;
      NodePullback pullback(ctx, *this, node, is_reached, parameters, basis_size);
      node.op().backward(ctx, node, pullback);
      if (ctx.timer() != nullptr) {
        pullback.end(*ctx.timer());
      }
    }
    node.cotangents_.clear();
    node.recomputed_ = Tensor{};  // all of its consumers have run
    if (release_residuals == Release::kYes) {
      release(node);
    }
  }
  for (std::size_t j = 0; j < inputs.size(); ++j) {
    const Shape shape = inputs[j].shape().with_first(basis_size);
    results[j] =
        results[j].defined() ? results[j].reshape(shape) : ctx.zeros(shape, inputs[j].dtype());
  }
  return results;
}

void Tape::clear() {
  nodes_.clear();
  parameter_leaves_.clear();
  encoded_.clear();
  sketches_.clear();
  last_ema_sketch_.reset();
  serial_ = next_tape_serial();
}

}  // namespace ghost
