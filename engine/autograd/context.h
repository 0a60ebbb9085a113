#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "engine/autograd/op.h"
#include "engine/autograd/parameter.h"
#include "engine/autograd/step_timer.h"
#include "engine/autograd/tape.h"
#include "engine/device/dispatch.h"
#include "engine/memory/allocator.h"
#include "engine/random/philox.h"

namespace ghost {

class FactorExchange;
class StateStore;

/// A matrix product C [m, n] = A [m, k] B [k, n], as ops report it.
struct GemmShape {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;

  std::int64_t flops() const { return 2 * m * n * k; }
  bool operator<(const GemmShape& other) const {
    return std::tie(m, n, k) < std::tie(other.m, other.n, other.k);
  }
};
using GemmCounts = std::map<GemmShape, std::int64_t>;

/// Everything an op may use besides its arguments: memory, randomness, the tape, and where in the
/// model it stands. Passed down by reference; there are no globals.
class Context {
 public:
  explicit Context(const Device& device);
  /// Shares memory with others on the same device.
  explicit Context(std::shared_ptr<Allocator> allocator);

  const Device& device() const { return allocator_->device(); }
  const std::shared_ptr<Allocator>& allocator() const { return allocator_; }
  MemoryMeter& meter() { return allocator_->meter(); }

  /// Uninitialised memory.
  Tensor empty(const Shape& shape, DType dtype, MemoryTag tag = MemoryTag::kWorkspace) const;
  Tensor zeros(const Shape& shape, DType dtype, MemoryTag tag = MemoryTag::kWorkspace) const;
  Tensor empty_like(const Tensor& x) const { return empty(x.shape(), x.dtype()); }

  /// The tape that records, or null.
  Tape* tape() const { return tape_; }
  /// A parameter's value, recorded as a leaf when a tape records, unless it is frozen.
  Tensor use(Parameter& parameter) const;

  /// Runs an op and records it when an input comes from the tape.
  template <typename OpType, typename... Args>
  Tensor apply(Tensors inputs, Args&&... args) {
    return std::move(
        run(std::make_shared<OpType>(std::forward<Args>(args)...), std::move(inputs))[0]);
  }
  Tensors run(std::shared_ptr<const Op> op, Tensors inputs);

  /// Whether dropout drops.
  bool is_training() const { return is_training_; }
  void set_training(bool is_training) { is_training_ = is_training; }

  /// Starts a forward pass: draws are numbered by (seed, step, micro-step, rank) and by the order
  /// of the drawing ops.
  void begin_pass(std::uint64_t seed, std::int64_t step, std::int64_t micro_step = 0,
                  std::int64_t rank = 0);
  /// The stream of the next drawing op. The residual store numbers its own draws (rounding,
  /// sketches) apart from those of ops: how a residual is kept changes no dropout mask, and a block
  /// that runs again repeats its draws whether or not it keeps anything this time.
  RandomStream next_stream(Purpose purpose);
  std::int64_t site() const { return stream_.site; }
  void set_site(std::int64_t site) { stream_.site = site; }

  /// What each row of the batch is, for residuals that group rows by it: [rows] i32 or undefined.
  struct RowLabels {
    Tensor tokens;
    Tensor targets;
  };
  const RowLabels& row_labels() const { return row_labels_; }
  void set_row_labels(RowLabels labels) { row_labels_ = std::move(labels); }

  /// Where ways of keeping residuals remember; null outside of training.
  StateStore* state_store() const { return state_store_; }
  void attach_state_store(StateStore* store) { state_store_ = store; }

  /// Over whom gradients of sketched linears are summed before their product; null: nobody.
  FactorExchange* factor_exchange() const { return factor_exchange_; }
  void attach_factor_exchange(FactorExchange* exchange) { factor_exchange_ = exchange; }

  /// Whether anything reads what ops return. Not so in the last stage of a block that runs again
  /// for its residuals, as its result is known: ops that can may then leave their outputs
  /// undefined (linear, dropout and add do). They keep what backward needs all the same.
  bool needs_outputs() const { return !(is_again_ && is_last_stage_); }

  /// Counts the matrix products of dense layers, dry runs included, while a list is attached.
  /// Returns the list that was attached before.
  GemmCounts* attach_gemm_counts(GemmCounts* counts) { return std::exchange(gemm_counts_, counts); }
  void count_gemm(const GemmShape& shape) const {
    if (gemm_counts_ != nullptr) {
      ++(*gemm_counts_)[shape];
    }
  }

  /// Called after every op with its outputs, recorded or not; the node still has the inputs. To
  /// look for what went wrong, or to take statistics.
  using Observer = std::function<void(const Node& node, const Tensors& outputs)>;
  void attach_observer(Observer observer) { observer_ = std::move(observer); }

  /// Who times the rules of ops and the parts of a step; null: nobody.
  StepTimer* timer() const { return timer_; }
  void attach_timer(StepTimer* timer) { timer_ = timer; }

  /// Path of the module that runs, as blocks.0.mlp.c_fc.
  const std::string& module() const { return module_; }

  /// Enters a submodule for its lifetime.
  class Scope {
   public:
    Scope(Context& ctx, std::string_view name);
    ~Scope() { ctx_.module_.resize(length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Context& ctx_;
    std::size_t length_;
  };

  /// The end of a block for its lifetime: what ops return in here goes into the block's result and
  /// nowhere else, and nobody keeps it.
  class LastStage {
   public:
    explicit LastStage(Context& ctx) : ctx_(ctx), outer_(std::exchange(ctx.is_last_stage_, true)) {}
    ~LastStage() { ctx_.is_last_stage_ = outer_; }
    LastStage(const LastStage&) = delete;
    LastStage& operator=(const LastStage&) = delete;

   private:
    Context& ctx_;
    bool outer_;
  };

  /// Says of a block for its lifetime whether it runs again, its result being known.
  enum class Again { kNo, kYes };
  class BlockRun {
   public:
    BlockRun(Context& ctx, Again again)
        : ctx_(ctx),
          outer_again_(std::exchange(ctx.is_again_, again == Again::kYes)),
          outer_stage_(std::exchange(ctx.is_last_stage_, false)) {}
    ~BlockRun() {
      ctx_.is_again_ = outer_again_;
      ctx_.is_last_stage_ = outer_stage_;
    }
    BlockRun(const BlockRun&) = delete;
    BlockRun& operator=(const BlockRun&) = delete;

   private:
    Context& ctx_;
    bool outer_again_;
    bool outer_stage_;
  };

  /// Records on another tape, or on none, for its lifetime.
  class Recording {
   public:
    Recording(Context& ctx, Tape* tape) : ctx_(ctx), outer_(std::exchange(ctx.tape_, tape)) {}
    ~Recording() { ctx_.tape_ = outer_; }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

   private:
    Context& ctx_;
    Tape* outer_;
  };

 private:
  std::shared_ptr<Allocator> allocator_;
  Tape* tape_ = nullptr;
  bool is_training_ = true;
  bool is_again_ = false;
  bool is_last_stage_ = false;
  RandomStream stream_;
  std::int64_t store_site_ = 0;
  std::string module_;
  RowLabels row_labels_;
  StateStore* state_store_ = nullptr;
  FactorExchange* factor_exchange_ = nullptr;
  GemmCounts* gemm_counts_ = nullptr;
  Observer observer_;
  StepTimer* timer_ = nullptr;
};

/// Where an op meets a backend.
template <typename Cpu, typename Cuda>
void dispatch(const Context& ctx, Cpu&& cpu, Cuda&& cuda) {
  dispatch(ctx.device(), std::forward<Cpu>(cpu), std::forward<Cuda>(cuda));
}

/// For what has no kernel on a GPU yet.
template <typename Cpu>
void dispatch(const Context& ctx, Cpu&& cpu) {
  dispatch(ctx, std::forward<Cpu>(cpu),
           [&] { fail("this op has no kernel for {}", ctx.device().name()); });
}

}  // namespace ghost
