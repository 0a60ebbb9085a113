#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/autograd/context.h"
#include "engine/autograd/pullback.h"
#include "engine/autograd/residual_sketch.h"
#include "ops/two_sided_sketch.h"

namespace ghost {

struct LogitsSketch;

/// Names of the sketches in a StateStore begin so; their rank and generation stand elsewhere.
inline constexpr std::string_view kEmaSketchPrefix = "ema_sketch.at.";

/// A linear's input A [rows, d] in the forward pass that updates its sketches, and for the backward
/// pass of the same batch what is rebuilt of it:
///
///   dW = dY^T Ahat = (u^T dY)^T v
///
/// The sketches live in the context's StateStore and stay from step to step; the residual itself
/// holds nothing. In these cases it holds A as it is, and dW is exact: A is the input of the
/// network, A is the batch with which `two_qr` begins, a short batch is dropped, or averages still
/// fill and `warmup` is exact. Sketches of bf16 are f32. They are updated where A is; what is
/// rebuilt of them is factorised on the host in f64, so a GPU's step waits for it once a layer.
/// source  Antil and Verma 2025, arXiv:2510.00442, as far as it is known; docs/ema_sketch.md
class EmaSketch final : public ResidualSketch {
 public:
  struct Place {
    std::string_view module;  // names the state
    bool is_network_input = false;
    std::shared_ptr<const EmaSketch> previous;  // of the linear before it in this pass, or null
  };
  /// x [..., d]; takes it into the sketches. Throws ghost::Error without a StateStore and for more
  /// rows than the first batch had.
  EmaSketch(Context& ctx, const Tensor& x, const EmaSketchConfig& config, const Place& place);

  /// Of the sketches, and of A where it is held.
  std::int64_t bytes() const override;

  /// A where it is held, else undefined.
  const Tensor& exact() const { return exact_; }
  /// Whether no gradient is made: `warmup: skip`.
  bool is_skipped() const { return is_skipped_; }

  /// Ahat = u v with u [rows, R] and v [R, d] in the dtype of A; only where A is not held.
  struct Factors {
    Tensor u;
    Tensor v;
  };
  Factors factors(const Context& ctx) const;
  /// dW [M, d] from dY [..., M] in all cases.
  void write_gradient(Context& ctx, const Tensor& dy, const GradientTarget& dweight) const;

 private:
  bool is_two_sided() const { return config_.mode == EmaSketchMode::kTropp; }
  bool is_first_link() const { return chain_start_.defined(); }
  ThreeSketchLayout layout() const;
  /// Finds or begins what the store remembers of the layer's batches.
  void find_batch(StateStore& store, const std::string& name);
  /// Which rows of the probes are this batch's; returns the rows of a full one.
  std::int64_t find_rows(std::string_view module, std::int64_t micro_step);
  struct Batch {
    Tensor rows;  // [rows, d]
    std::int64_t micro_step = 0;
    double weight = 1;
  };
  void update(const Context& ctx, StateStore& store, const std::string& name, const Batch& batch);
  bool is_warming_up() const;
  void hold(const Tensor& x);
  std::int64_t num_probes() const { return sketch_->layout().columns(); }
  RebuiltInput lifted() const;
  const OperatorChain& chain() const;
  std::int64_t updates() const;

  EmaSketchConfig config_;
  ProbeNames names_;
  std::int64_t rank_ = 0;
  std::int64_t layer_ = 0;
  std::int64_t rows_ = 0;  // of this batch
  std::int64_t channels_ = 0;
  std::int64_t first_row_ = 0;  // of the probes
  std::int64_t probe_rows_ = 0;
  // The store's, on the host: number of the layer, rows, batches of a step, error.
  Tensor batch_;
  DType dtype_ = DType::kF32;
  bool is_dry_ = false;
  bool is_skipped_ = false;
  Tensor exact_;
  std::optional<ThreeSketch> sketch_;
  std::optional<TwoSidedSketch> two_sided_;
  // Of two_qr: the batch that the operators begin with, and those up to here once backward asks.
  Tensor chain_start_;
  std::shared_ptr<const EmaSketch> previous_;
  mutable std::optional<OperatorChain> chain_;
};

/// Of mode tropp with adaptive: error: the square root of the sum over all layers of the estimates
/// of |A - Ahat|^2 in the last backward pass. 0 where there are none.
double ema_sketch_error(const StateStore& store);

/// Keeps the linear input x under `name` as an EmaSketch.
void keep_ema_sketch(Context& ctx, Node& node, std::string_view name, const Tensor& x);
/// What keep_ema_sketch has kept, or null.
std::shared_ptr<const EmaSketch> kept_ema_sketch(const Node& node, std::string_view name);

/// u^T dlogits [R, V], formed in forward while dlogits are at hand.
class EmaGradient final : public ResidualSketch {
 public:
  EmaGradient(const Context& ctx, std::shared_ptr<const EmaSketch> sketch, std::int64_t columns);
  std::int64_t bytes() const override { return values_.bytes() + factors_.v.bytes(); }

  /// As GradientSketch::form.
  void form(const Context& ctx, const std::function<void(const LogitsSketch&)>& fill);
  /// dW [V, d] times `cotangent`, one number. Waits for a GPU.
  void write(Context& ctx, const GradientTarget& dweight, const Tensor& cotangent) const;

 private:
  void form_on_gpu(const Context& ctx, const std::function<void(const LogitsSketch&)>& fill);

  std::shared_ptr<const EmaSketch> sketch_;
  EmaSketch::Factors factors_;
  Tensor values_;  // [R, V]
};
/// An EmaGradient that the op itself has kept with keep_sketch, or null.
std::shared_ptr<const EmaGradient> kept_ema_gradient(const Node& node, std::string_view name);

}  // namespace ghost
