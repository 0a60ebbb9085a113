#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/autograd/residual_codec.h"
#include "engine/autograd/residual_plan.h"
#include "engine/autograd/residual_sketch.h"
#include "engine/tensor/tensor.h"

namespace ghost {

class Context;
class Op;
struct ResidualSpec;
class Tape;
struct Parameter;

/// What backward may know of an input once forward is over: not its values.
struct TensorFacts {
  Shape shape;
  DType dtype = DType::kF32;
  Origin origin;
};

/// One application of an op. During forward it hands out the inputs and takes residuals; on the
/// tape it holds residuals, in the form the plan chose, and nothing else of the forward pass.
class Node {
 public:
  Node(Context& ctx, std::shared_ptr<const Op> op, Tensors inputs, bool is_recorded);

  // In forward.
  const Tensor& input(std::size_t i) const;
  /// Keeps a residual under a name and role that the op has declared. Nothing happens when the
  /// tape does not record.
  void keep(std::string_view name, const Tensor& tensor);
  /// Whether the plan wants a sketch of the op's linear input, averaged over steps or not: then
  /// `keep_sketch` instead of `keep`.
  bool wants_sketch() const { return wants(Keep::kSketch); }
  bool wants_ema_sketch() const { return wants(Keep::kEmaSketch); }
  /// Keeps a sketch of `tensor`, which `make` forms unless another op has kept one of it already.
  using MakeSketch = std::function<std::shared_ptr<const ResidualSketch>(const SketchConfig&)>;
  void keep_sketch(std::string_view name, const Tensor& tensor, const MakeSketch& make);
  /// The same for one that is averaged over steps. `make` gets the one that was made before it in
  /// this pass, or null.
  using MakeEmaSketch = std::function<std::shared_ptr<const ResidualSketch>(
      std::shared_ptr<const ResidualSketch> previous)>;
  void keep_ema_sketch(std::string_view name, const Tensor& tensor, const MakeEmaSketch& make);
  /// Keeps an object of the op's own.
  void keep_sketch(std::string_view name, std::shared_ptr<const ResidualSketch> sketch);
  /// How the plan would keep `tensor` under that name: for ops with a smaller form to keep instead.
  Keep planned_keep(std::string_view name, const Tensor& tensor) const;
  bool is_recorded() const { return is_recorded_; }
  /// Whether a backward pass may ask for the cotangent of this input.
  bool is_recorded_input(std::size_t i) const;

  // In backward.
  /// A kept residual in its own dtype: exact, decoded, or made again by the op that made it.
  Tensor residual(std::string_view name) const;
  /// The sketch kept under that name; null when the residual was kept otherwise.
  std::shared_ptr<const ResidualSketch> sketch(std::string_view name) const;
  /// In which form it is kept.
  Keep kept_as(std::string_view name) const { return find(name).keep; }
  const TensorFacts& facts(std::size_t input) const { return inputs_facts_.at(input); }
  std::size_t num_inputs() const { return inputs_facts_.size(); }

  const Op& op() const { return *op_; }
  std::string_view module() const { return module_; }

  /// For plans and tests: what is kept, where. Several residuals may share one storage.
  struct KeptFacts {
    std::string_view name;
    Role role;
    Keep keep;
    Shape shape;
    std::uint64_t storage = 0;  // serial number; 0 when nothing is stored (recomputed, absent)
    std::int64_t bytes = 0;     // of the residual in the form in which it is kept
  };
  std::vector<KeptFacts> kept() const;

 private:
  friend class Tape;

  struct Residual;
  bool wants(Keep keep) const;
  ResidualSpec declared(std::string_view name) const;
  Keep planned_keep(const ResidualSpec& spec, const Tensor& tensor) const;
  const Residual& find(std::string_view name) const;
  bool keeps_derivative() const;

  struct Residual {
    std::string_view name;
    Role role = Role::kStatistic;
    Keep keep = Keep::kExact;
    Shape shape;
    DType dtype = DType::kF32;
    Tensor exact;
    std::shared_ptr<const EncodedResidual> encoded;
    std::shared_ptr<const ResidualSketch> sketch;
    Origin producer;  // kRecompute
  };

  Context* ctx_;  // of the forward pass while it runs, of the backward pass afterwards
  std::shared_ptr<const Op> op_;
  std::string module_;
  Tensors inputs_;  // in forward only
  std::vector<TensorFacts> inputs_facts_;
  std::vector<TensorFacts> outputs_facts_;
  std::vector<Residual> residuals_;
  bool is_recorded_ = false;

  // The tape's own.
  Parameter* parameter_ = nullptr;  // a leaf that is a parameter
  Tensors cotangents_;              // of each output, [P, ...], while backward runs
  Tensor recomputed_;               // output 0, while its consumers still need it
  std::int32_t recompute_users_ = 0;
};

}  // namespace ghost
