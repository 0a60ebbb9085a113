#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/autograd/node.h"
#include "engine/autograd/op.h"
#include "engine/autograd/residual_plan.h"

namespace ghost {

/// Reverse-mode tape: ops append nodes as they run, a backward pass walks them from the end.
/// It owns the residual store: what each node keeps, in the form that the plan says.
class Tape {
 public:
  explicit Tape(ResidualPlan plan = {});
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// The same elements as a leaf, so that `vjp` can ask for its cotangent.
  Tensor watch(const Tensor& leaf);
  /// The value of a parameter, so that `backward` fills its gradient.
  Tensor use(Parameter& parameter);

  /// Ordinary backward from a scalar: adds d(output)/d(parameter) * seed to the gradients of all
  /// parameters and frees every residual as soon as its node's rule has run.
  void backward(Context& ctx, const Tensor& output, double seed = 1.0);

  /// Pushes P cotangents at once through the recorded graph: cotangents[i] is [P, shape of
  /// outputs[i]], the result [P, shape of inputs[j]] (zeros where nothing flows). Inputs are
  /// watched leaves or recorded tensors. No parameter gradients; residuals stay, so it can be
  /// called again.
  Tensors vjp(Context& ctx, std::span<const Tensor> outputs, std::span<const Tensor> cotangents,
              std::span<const Tensor> inputs);

  /// As `vjp`, but with the parameter gradients (P = 1) if asked, and freeing residuals.
  enum class Parameters { kSkip, kAccumulate };
  Tensors pull(Context& ctx, std::span<const Tensor> outputs, std::span<const Tensor> cotangents,
               std::span<const Tensor> inputs, Parameters parameters);

  /// Forgets everything recorded; memory of the node list is kept for the next step.
  void clear();

  const std::deque<Node>& nodes() const { return nodes_; }
  const ResidualPlan& plan() const { return plan_; }
  /// Share of the run that is done, 0 to 1.
  void set_progress(double progress) { plan_.set_progress(progress); }
  bool records(const Tensor& tensor) const { return tensor.origin().tape == serial_; }

 private:
  friend class Context;
  friend class Node;
  class NodePullback;
  enum class Release { kNo, kYes };

  void append(Node&& node, Tensors& outputs);
  Tensors propagate(Context& ctx, std::span<const Tensor> outputs,
                    std::span<const Tensor> cotangents, std::span<const Tensor> inputs,
                    Parameters parameters, Release release);
  void add_cotangent(const Origin& to, Tensor cotangent);
  // Adds the cotangent that reached a parameter through `give` (a sum, a reshape) to its gradient.
  void deposit(Node& leaf, std::int64_t basis_size);
  void release(Node& node);
  Node& node_at(const Origin& origin) { return nodes_[static_cast<std::size_t>(origin.node)]; }
  bool is_cheap_output(const Tensor& tensor) const;
  Tensor recompute(Context& ctx, const Origin& producer);

  struct EncodedKey {
    std::uint64_t storage;
    std::int64_t offset;
    std::int64_t numel;
    Keep keep;
    std::int64_t rank = 0;  // of sketches: a number or a share of the rows
    double rank_fraction = 0;
    bool operator==(const EncodedKey&) const = default;
  };
  struct EncodedKeyHash {
    std::size_t operator()(const EncodedKey& key) const;
  };
  std::shared_ptr<const EncodedResidual> encode_once(Context& ctx, const Tensor& tensor, Keep keep);
  std::shared_ptr<const ResidualSketch> sketch_once(std::string_view module, const Tensor& tensor,
                                                    const Node::MakeSketch& make);
  std::shared_ptr<const ResidualSketch> ema_sketch_once(const Tensor& tensor,
                                                        const Node::MakeEmaSketch& make);

  ResidualPlan plan_;
  std::uint64_t serial_;
  std::deque<Node> nodes_;
  std::unordered_map<const Parameter*, std::int32_t> parameter_leaves_;
  // Inputs that several ops share are encoded once.
  std::unordered_map<EncodedKey, std::weak_ptr<const EncodedResidual>, EncodedKeyHash> encoded_;
  std::unordered_map<EncodedKey, std::weak_ptr<const ResidualSketch>, EncodedKeyHash> sketches_;
  std::weak_ptr<const ResidualSketch> last_ema_sketch_;
};

/// One cotangent as `Tape::vjp` and `Tape::pull` take them: [1, shape of x].
inline Tensor as_cotangent(const Tensor& x) { return x.reshape(x.shape().with_first(1)); }

}  // namespace ghost
