#include "ops/linear_cross_entropy.h"

#include <algorithm>
#include <optional>

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/ema_sketch.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/row_sketch.h"

namespace ghost {
namespace {

/// Of logits: what a part works on, or all of a chunk of rows.
enum class Hold { kPieces, kChunk };

/// Logits that are held from forward to backward, at most. On a CPU, 16 MiB in f32: making so few
/// again would cost more than it saves. On a GPU, 2 GiB in bf16: its time goes into products, and
/// this one is a fourth of the head's.
std::int64_t few_logits(const Device& device) {
  return device.is_cuda() ? std::int64_t{1} << 30 : std::int64_t{1} << 22;
}

std::int64_t quotient(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// One strip; as many rows at once as keep a GPU's products large: their sum into the gradient of
/// the weight, read and written again for each chunk, is a few percent of the work.
CrossEntropyPieces cut_chunks(std::int64_t rows, std::int64_t vocab_size) {
  constexpr std::int64_t kElementsOfChunk = 1 << 28;  // 512 MiB in bf16
  constexpr std::int64_t kRowsOfTile = 128;           // of a product
  constexpr std::int64_t kColumnsOfAccess = 8;
  const std::int64_t columns = quotient(vocab_size, kColumnsOfAccess) * kColumnsOfAccess;
  const std::int64_t most_rows = std::max(kRowsOfTile, kElementsOfChunk / columns);
  const std::int64_t even_rows = quotient(rows, quotient(rows, most_rows));
  return {.chunk_rows = std::min(rows, quotient(even_rows, kRowsOfTile) * kRowsOfTile),
          .strip_columns = columns,
          .num_strips = 1,
          .num_parts = 1};
}

CrossEntropyPieces cut_pieces(std::int64_t rows, std::int64_t vocab_size, std::int64_t channels,
                              Hold hold) {
  constexpr std::int64_t kParts = 16;                 // as many threads have work
  constexpr std::int64_t kElementsOfPart = 1 << 20;   // of dx
  constexpr std::int64_t kElementsOfPiece = 1 << 18;  // of logits: they stay in a cache
  constexpr std::int64_t kElementsOfChunk = 1 << 25;  // of logits that are held
  constexpr std::int64_t kColumns[] = {512, 4096};    // of a strip, at least and at most
  constexpr std::int64_t kFewestRows = 64;
  const std::int64_t most_rows =
      std::min(kElementsOfPart / channels,
               hold == Hold::kChunk ? kElementsOfChunk / vocab_size : kElementsOfPart);
  CrossEntropyPieces pieces;
  pieces.chunk_rows = std::min(rows, std::max(kFewestRows, most_rows));
  const std::int64_t columns =
      std::clamp(kElementsOfPiece / pieces.chunk_rows, kColumns[0], kColumns[1]);
  if (vocab_size <= kColumns[1]) {
    pieces.strip_columns = vocab_size;  // one piece, on all threads
  } else {
    const std::int64_t strips = quotient(quotient(vocab_size, columns), kParts) * kParts;
    // Where it is no multiple of 64, oneDNN's product for the weight takes three times as long.
    pieces.strip_columns = quotient(quotient(vocab_size, strips), 64) * 64;
  }
  pieces.num_strips = quotient(vocab_size, pieces.strip_columns);
  pieces.num_parts = std::min(kParts, pieces.num_strips);
  return pieces;
}

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::linear_cross_entropy(args); }, [&] { cuda::linear_cross_entropy(args); });
}

class LinearCrossEntropy final : public Op {
 public:
  explicit LinearCrossEntropy(const CrossEntropyOptions& options) : options_(options) {}

  std::string_view name() const override { return "linear_cross_entropy"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kLinearInput},
            {"weight", Role::kParameter},
            {"targets", Role::kIndex},
            {"lse", Role::kStatistic},
            {"dlogits", Role::kLossGradient},
            {"dx", Role::kLossGradient},
            {"exponentials", Role::kLossGradient},
            {"maxima", Role::kStatistic}};
  }

  // Backward makes the logits again, piece by piece, unless they are few. Where the weight gradient
  // is a sketch, x is gone by then: dx and the sketch of dlogits are formed now, for a loss
  // cotangent of 1, and the exponentials of a chunk of rows held meanwhile.
  Tensors forward(Context& ctx, Node& node) const override {
    const CrossEntropyRows rows = rows_of(ctx, node.input(0), node.input(1), node.input(2));
    std::shared_ptr<const EmaSketch> ema_sketch;
    if (node.is_recorded_input(1) && node.wants_ema_sketch()) {
      keep_ema_sketch(ctx, node, "x", node.input(0));
      ema_sketch = kept_ema_sketch(node, "x");
    }
    const bool is_rebuilt = ema_sketch != nullptr && !ema_sketch->exact().defined();
    const bool is_sketched = is_rebuilt || (node.is_recorded_input(1) && node.wants_sketch());
    const bool is_kept = !is_sketched && node.is_recorded() && can_hold(ctx, rows);
    const Hold hold = is_sketched || is_kept ? Hold::kChunk : Hold::kPieces;
    CrossEntropyPieces pieces = pieces_of(ctx, rows, hold);
    if (is_kept) {
      pieces.chunk_rows = rows.x.dim(0);
    }
    const DType statistic = statistic_dtype(rows.x.dtype());
    const Tensor count = count_targets(ctx, rows);
    const Shape strips({pieces.num_strips, pieces.chunk_rows});
    const CrossEntropyLoss losses{
        .in = rows,
        .pieces = pieces,
        .losses = ctx.empty(rows.targets.shape(), statistic),
        .exponentials = logits_scratch(ctx, pieces, hold, logits_dtype(ctx, rows)),
        .maxima = ctx.empty(strips, statistic),
        .sums = ctx.empty(strips, statistic)};
    ctx.count_gemm(logits_shape(rows));
    node.keep("weight", node.input(1));
    node.keep("targets", is_sketched ? Tensor{} : node.input(2));
    node.keep("lse", is_sketched ? Tensor{} : rows.lse);
    node.keep("exponentials", is_kept ? losses.exponentials : Tensor{});
    node.keep("maxima", is_kept ? losses.maxima : Tensor{});
    if (is_sketched) {
      const Tensor dx = ctx.empty(rows.x.shape(), rows.x.dtype());
      const auto form = [&](const LogitsSketch& target) {
        CrossEntropyGradient gradient{.dx = dx,
                                      .sketch = &target,
                                      .exponentials = losses.exponentials,
                                      .maxima = losses.maxima};
        if (ctx.device().is_cuda()) {
          gradient.dlogits = losses.exponentials;
        }
        complete(ctx, rows, pieces, count, gradient);
        launch(ctx, CrossEntropyLossAndGradient{.loss = losses, .gradient = gradient});
      };
      if (is_rebuilt) {
        const auto sketch = std::make_shared<EmaGradient>(ctx, ema_sketch, rows.weight.dim(0));
        sketch->form(ctx, form);
        node.keep_sketch("dlogits", sketch);
      } else {
        keep_linear_input(ctx, node, "x", node.input(0));
        const auto sketch =
            std::make_shared<GradientSketch>(ctx, kept_sketch(node, "x"), rows.weight.dim(0));
        sketch->form(ctx, form);
        node.keep_sketch("dlogits", sketch);
      }
      node.keep("dx", dx);
    } else {
      launch(ctx, losses);
      if (ema_sketch == nullptr) {
        node.keep("x", node.input(0));
      }
      node.keep("dx", Tensor{});
      node.keep("dlogits", Tensor{});
    }
    const Tensor loss = ctx.empty({1}, statistic);
    launch(ctx, CrossEntropyMean{.losses = losses.losses, .loss = loss, .count = count});
    return {loss};
  }

  // With p = exp(logits - lse) and n counted rows: dlogits = dloss / n * (p - onehot(target)),
  //   dx = dlogits weight,   dweight = dlogits^T x
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    if (const auto sketch = kept_gradient(node, "dlogits")) {
      if (pullback.wanted(1)) {
        sketch->write(ctx, pullback.target(1), node.module(), pullback.dy(),
                      options_.is_weight_shared ? nullptr : ctx.factor_exchange());
      }
      give_dx(ctx, node, pullback, node.residual("dx"));
      return;
    }
    if (const auto sketch = kept_ema_gradient(node, "dlogits")) {
      if (pullback.wanted(1)) {
        sketch->write(ctx, pullback.target(1), pullback.dy());
      }
      give_dx(ctx, node, pullback, node.residual("dx"));
      return;
    }
    const auto held = kept_ema_sketch(node, "x");
    CrossEntropyRows rows = rows_of(ctx, held != nullptr ? held->exact() : node.residual("x"),
                                    node.residual("weight"), node.residual("targets"));
    rows.lse = node.residual("lse");
    CrossEntropyGradient outputs{.exponentials = node.residual("exponentials"),
                                 .maxima = node.residual("maxima")};
    const bool is_kept = outputs.exponentials.defined();
    const bool holds_chunk = is_kept && !ctx.device().is_cuda();
    const CrossEntropyPieces pieces =
        pieces_of(ctx, rows, holds_chunk ? Hold::kChunk : Hold::kPieces);
    if (pullback.wanted(0)) {
      outputs.dx = ctx.empty(rows.x.shape(), rows.x.dtype());
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      outputs.dweight = target.grad;
      outputs.accumulate_dweight = target.accumulate;
      outputs.cotangent = pullback.dy();
    }
    if (!is_kept) {
      ctx.count_gemm(logits_shape(rows));
    }
    complete(ctx, rows, pieces, count_targets(ctx, rows), outputs);
    launch(ctx, outputs);
    if (ctx.device().is_cuda() && outputs.cotangent.defined() && outputs.dx.defined()) {
      pullback.give(0, outputs.dx.reshape(node.facts(0).shape.with_first(1)));
    } else {
      give_dx(ctx, node, pullback, outputs.dx);
    }
  }

 private:
  CrossEntropyRows rows_of(const Context& ctx, const Tensor& x, const Tensor& weight,
                           const Tensor& targets) const {
    const std::int64_t rows = targets.numel();
    return {.x = x.reshape({rows, x.dim(-1)}).detach(),
            .weight = weight,
            .targets = targets.reshape({rows}),
            .lse = ctx.empty({rows}, statistic_dtype(x.dtype())),
            .ignore_index = options_.ignore_index,
            .vocab_size = options_.vocab_size};
  }

  static CrossEntropyPieces pieces_of(const Context& ctx, const CrossEntropyRows& rows, Hold hold) {
    if (ctx.device().is_cuda()) {
      return cut_chunks(rows.x.dim(0), rows.weight.dim(0));
    }
    return cut_pieces(rows.x.dim(0), rows.weight.dim(0), rows.x.dim(1), hold);
  }
  /// Whether logits are few and, on a CPU, one chunk: of several the last one would be held.
  static bool can_hold(const Context& ctx, const CrossEntropyRows& rows) {
    const bool are_few = rows.x.dim(0) * rows.weight.dim(0) <= few_logits(ctx.device());
    return are_few && (ctx.device().is_cuda() ||
                       pieces_of(ctx, rows, Hold::kChunk).chunk_rows == rows.x.dim(0));
  }
  static Tensor logits_scratch(const Context& ctx, const CrossEntropyPieces& pieces, Hold hold,
                               DType dtype) {
    return ctx.empty({hold == Hold::kChunk ? pieces.num_strips : pieces.num_parts,
                      pieces.chunk_rows, pieces.strip_columns},
                     dtype);
  }
  /// Of logits: a GPU's products write them in the dtype of x, a CPU keeps their sums.
  static DType logits_dtype(const Context& ctx, const CrossEntropyRows& rows) {
    return ctx.device().is_cuda() ? rows.x.dtype() : statistic_dtype(rows.x.dtype());
  }
  static GemmShape logits_shape(const CrossEntropyRows& rows) {
    return {.m = rows.x.dim(0), .n = rows.weight.dim(0), .k = rows.weight.dim(1)};
  }

  static Tensor count_targets(const Context& ctx, const CrossEntropyRows& rows) {
    const Tensor count = ctx.empty({1}, DType::kF64);
    launch(ctx, CrossEntropyCount{.targets = rows.targets,
                                  .ignore_index = rows.ignore_index,
                                  .vocab_size = rows.vocab_size,
                                  .count = count});
    return count;
  }

  /// What a gradient needs besides its outputs and the loss's cotangent.
  static void complete(const Context& ctx, const CrossEntropyRows& rows,
                       const CrossEntropyPieces& pieces, const Tensor& count,
                       CrossEntropyGradient& gradient) {
    const GemmShape shape = logits_shape(rows);
    gradient.in = rows;
    gradient.pieces = pieces;
    gradient.count = count;
    if (!gradient.dlogits.defined()) {
      gradient.dlogits = logits_scratch(ctx, pieces, Hold::kPieces, rows.x.dtype());
    }
    const DType dtype = logits_dtype(ctx, rows);
    if (!gradient.exponentials.defined()) {
      gradient.logits = dtype == rows.x.dtype() ? gradient.dlogits
                                                : logits_scratch(ctx, pieces, Hold::kPieces, dtype);
    }
    if (gradient.dx.defined()) {
      ctx.count_gemm({.m = shape.m, .n = shape.k, .k = shape.n});
    }
    if (gradient.dx.defined() && !ctx.device().is_cuda()) {
      gradient.dx_parts = ctx.empty({pieces.num_parts, pieces.chunk_rows, shape.k}, dtype);
    }
    if (gradient.dweight.defined()) {
      ctx.count_gemm({.m = shape.n, .n = shape.k, .k = shape.m});
    }
  }

  /// dx for a loss cotangent of 1, times those there are.
  static void give_dx(Context& ctx, const Node& node, Pullback& pullback, const Tensor& unit) {
    if (pullback.wanted(0)) {
      const TensorFacts& x = node.facts(0);
      Tensor dx = ctx.empty(x.shape.with_first(pullback.basis_size()), x.dtype);
      launch(ctx, CrossEntropyScale{.dloss = pullback.dy(), .x = unit, .out = dx});
      pullback.give(0, dx);
    }
  }

  CrossEntropyOptions options_;
};

}  // namespace

Tensor linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight,
                            const Tensor& targets, const CrossEntropyOptions& options) {
  GHOST_CHECK(weight.shape().rank() == 2 && x.dim(-1) == weight.dim(1),
              "shape mismatch in linear_cross_entropy: x {} against weight {}; expected the last "
              "dimension of x to equal {}",
              x.shape(), weight.shape(), weight.dim(-1));
  GHOST_CHECK(targets.dtype() == DType::kI32 && targets.numel() == x.numel() / x.dim(-1),
              "shape mismatch in linear_cross_entropy: x {} against targets {}; expected one i32 "
              "target a row",
              x.shape(), targets.shape());
  GHOST_CHECK(options.vocab_size >= 0 && options.vocab_size <= weight.dim(0),
              "linear_cross_entropy: vocab_size is {}; the weight has {} rows", options.vocab_size,
              weight.dim(0));
  CrossEntropyOptions known = options;
  if (known.vocab_size == 0) {
    known.vocab_size = weight.dim(0);
  }
  return ctx.apply<LinearCrossEntropy>({x, weight, targets}, known);
}

}  // namespace ghost
