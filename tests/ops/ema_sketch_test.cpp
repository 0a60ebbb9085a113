#include "ops/ema_sketch.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd/state_store.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/rank_controller.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::relative_difference;
using test::values_of;

Tensor as(const Tensor& x, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

ResidualsConfig plan_of(const EmaSketchConfig& config) {
  return {.rules = {{.role = "linear_input", .keep = Keep::kEmaSketch}}, .ema_sketch = config};
}

constexpr EmaSketchMode kModes[] = {EmaSketchMode::kLift, EmaSketchMode::kStack,
                                    EmaSketchMode::kTwoQr, EmaSketchMode::kTropp};

EmaSketchConfig config_of(EmaSketchMode mode, double beta = 0) {
  return {.mode = mode,
          .rule = mode == EmaSketchMode::kTropp ? SketchSizes::kTropp : SketchSizes::kPaper,
          .beta = beta,
          .warmup = EmaWarmup::kNone};
}

/// Three linears with tanh between them, 12 -> 10 -> 9 -> 6, and a store that lives on.
class Network {
 public:
  explicit Network(const ResidualsConfig& residuals, DType dtype = DType::kF64,
                   const Device& device = {})
      : ctx_(device), store_(ctx_.allocator()), residuals_(residuals), dtype_(dtype) {
    ctx_.attach_state_store(&store_);
  }

  struct Pass {
    std::int64_t rows = 16;
    std::int64_t step = 0;
    std::int64_t micro_step = 0;
  };
  /// Gradients of the three weights and of the last bias, the input being data of (rows, step,
  /// micro-step).
  Tensors gradients(const Pass& pass) {
    Tape tape((ResidualPlan(residuals_)));
    const Context::Recording recording(ctx_, &tape);
    ctx_.begin_pass(/*seed=*/1, pass.step, pass.micro_step);
    const auto seed = static_cast<std::uint64_t>(100 * pass.step + pass.micro_step);
    Tensor x = sent(normal({pass.rows, 12}, 1000 + seed));
    Tensors leaves;
    for (std::size_t l = 0; l < 3; ++l) {
      const Context::Scope scope(ctx_, fmt::format("layers.{}", l));
      const std::int64_t width = kWidths[l + 1];
      leaves.push_back(tape.watch(sent(normal({width, kWidths[l]}, l))));
      const Tensor bias = l == 2 ? tape.watch(sent(normal({width}, 9))) : Tensor{};
      x = linear(ctx_, x, leaves.back(), bias);
      if (l < 2) {
        x = tanh(ctx_, x);
      } else {
        leaves.push_back(bias);
      }
    }
    kept_.clear();
    for (const Node& node : tape.nodes()) {
      for (const Node::KeptFacts& kept : node.kept()) {
        if (kept.role == Role::kLinearInput) {
          kept_.push_back(kept);
        }
      }
    }
    sketch_bytes_ = ctx_.meter().current(MemoryTag::kSketches);
    const Tensor cotangent = sent(normal({1, pass.rows, 6}, 2000 + seed));
    return tape.vjp(ctx_, std::span(&x, 1), std::span(&cotangent, 1), leaves);
  }
  const std::vector<Node::KeptFacts>& kept() const { return kept_; }
  std::int64_t sketch_bytes() const { return sketch_bytes_; }
  Context& context() { return ctx_; }
  StateStore& store() { return store_; }

 private:
  static constexpr std::int64_t kWidths[] = {12, 10, 9, 6};

  Tensor sent(const Tensor& x) const {
    return to_device(as(x, dtype_), ctx_.allocator(), MemoryTag::kWorkspace);
  }

  Context ctx_;
  StateStore store_;
  ResidualsConfig residuals_;
  DType dtype_;
  std::vector<Node::KeptFacts> kept_;
  std::int64_t sketch_bytes_ = 0;
};

bool is_finite(const Tensor& x) {
  const auto values = values_of(x);
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

TEST_CASE("the network's input and biases keep exact gradients", "[ops]") {
  Network exact({});
  const Tensors expected = exact.gradients({});
  for (const EmaSketchMode mode : kModes) {
    for (const DType dtype : {DType::kF64, DType::kF32}) {
      INFO(enum_name(mode));
      Network sketched(plan_of(config_of(mode)), dtype);
      const Tensors got = sketched.gradients({});
      const double tolerance = dtype == DType::kF64 ? 1e-13 : 1e-5;
      CHECK(relative_difference(got[0], expected[0]) < tolerance);
      CHECK(relative_difference(got[1], expected[1]) > 0.05);
      CHECK(relative_difference(got[2], expected[2]) > 0.05);
      CHECK(relative_difference(got[3], expected[3]) < tolerance);
      CHECK((is_finite(got[1]) && is_finite(got[2])));
      CHECK(sketched.kept()[1].keep == Keep::kEmaSketch);
    }
  }
}

TEST_CASE("stack gives exact gradients of few rows", "[ops]") {
  EmaSketchConfig config = config_of(EmaSketchMode::kStack);
  Network exact({});
  for (const std::int64_t rows : {4, 15}) {
    Network sketched(plan_of(config));
    for (std::int64_t step = 0; step < 3; ++step) {
      const Tensors expected = exact.gradients({.rows = rows, .step = step});
      const Tensors got = sketched.gradients({.rows = rows, .step = step});
      for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(relative_difference(got[i], expected[i]) < 1e-9);
      }
    }
  }
}

TEST_CASE("micro-batches find their own rows again", "[ops]") {
  Network exact({});
  for (const double beta : {0.0, 0.5}) {
    EmaSketchConfig config = config_of(EmaSketchMode::kStack, beta);
    config.rank = 3;  // 21 probes for 3 x 5 rows
    Network sketched(plan_of(config));
    for (std::int64_t step = 0; step < 2; ++step) {
      for (std::int64_t micro = 0; micro < 3; ++micro) {
        const Network::Pass pass{.rows = 5, .step = beta == 0 ? step : 0, .micro_step = micro};
        const Tensors expected = exact.gradients(pass);
        const Tensors got = sketched.gradients(pass);
        // The same batches again: their average is each of them once all rows have been seen.
        if (beta == 0 || step == 1) {
          CHECK(relative_difference(got[2], expected[2]) < 1e-8);
        }
      }
    }
  }
}

TEST_CASE("unbias makes lifted gradients larger by rows over probes", "[ops]") {
  Network plain(plan_of(config_of(EmaSketchMode::kLift)));
  EmaSketchConfig config = config_of(EmaSketchMode::kLift);
  config.unbias = true;
  Network unbiased(plan_of(config));
  const Tensor a = plain.gradients({})[1];
  const Tensor b = unbiased.gradients({})[1];
  scale(a, 16.0 / 5);
  CHECK(relative_difference(b, a) < 1e-13);
}

TEST_CASE("tied probes and a cut to rank r change what is rebuilt", "[ops]") {
  EmaSketchConfig tied = config_of(EmaSketchMode::kTwoQr);
  tied.tie = true;
  Network with_tie(plan_of(tied));
  Network without(plan_of(config_of(EmaSketchMode::kTwoQr)));
  CHECK(relative_difference(with_tie.gradients({})[1], without.gradients({})[1]) > 1e-3);
  CHECK(with_tie.sketch_bytes() < without.sketch_bytes());
  EmaSketchConfig cut = config_of(EmaSketchMode::kTropp);
  cut.truncate = true;
  Network truncated(plan_of(cut));
  Network whole(plan_of(config_of(EmaSketchMode::kTropp)));
  CHECK(relative_difference(truncated.gradients({})[1], whole.gradients({})[1]) > 1e-3);
}

TEST_CASE("short batches are dropped or padded", "[ops]") {
  Network exact({});
  const Tensors expected = exact.gradients({.rows = 10, .step = 1});
  for (const auto& [policy, is_exact] :
       {std::pair{ShortBatch::kDrop, true}, std::pair{ShortBatch::kPad, false},
        std::pair{ShortBatch::kPadRescaled, false}}) {
    EmaSketchConfig config = config_of(EmaSketchMode::kStack, 0.9);
    config.short_batch = policy;
    Network sketched(plan_of(config));
    sketched.gradients({});
    const auto before = values_of(sketched.store().find("ema_sketch.at.layers.1.sketch"));
    const Tensors got = sketched.gradients({.rows = 10, .step = 1});
    CHECK((relative_difference(got[1], expected[1]) < 1e-13) == is_exact);
    const auto after = values_of(sketched.store().find("ema_sketch.at.layers.1.sketch"));
    CHECK((before == after) == is_exact);
    CHECK(is_finite(got[1]));
  }
  Network sketched(plan_of(config_of(EmaSketchMode::kLift)));
  sketched.gradients({.rows = 8});
  CHECK_THROWS_WITH(sketched.gradients({.rows = 16}),
                    "the input of layers.1 has 16 rows; residuals.ema_sketch began with 8 and "
                    "takes no more");
}

TEST_CASE("gradients are exact or left out while averages fill", "[ops]") {
  Network exact({});
  for (const EmaWarmup warmup : {EmaWarmup::kExact, EmaWarmup::kSkip}) {
    EmaSketchConfig config = config_of(EmaSketchMode::kLift, 0.5);  // 6 updates
    config.warmup = warmup;
    Network sketched(plan_of(config));
    for (std::int64_t step = 0; step < 7; ++step) {
      const Tensors expected = exact.gradients({.step = step});
      const Tensors got = sketched.gradients({.step = step});
      const double distance = relative_difference(got[1], expected[1]);
      const auto values = values_of(got[1]);
      const bool is_zero =
          std::all_of(values.begin(), values.end(), [](double v) { return v == 0; });
      CHECK((distance < 1e-13) == (step < 5 && warmup == EmaWarmup::kExact));
      CHECK(is_zero == (step < 5 && warmup == EmaWarmup::kSkip));
      CHECK(relative_difference(got[0], expected[0]) < 1e-13);
    }
  }
}

// Everything random is a function of names, and the rest is in the store.
TEST_CASE("a resumed run goes on bit by bit", "[ops]") {
  for (const EmaSketchMode mode : kModes) {
    INFO(enum_name(mode));
    const ResidualsConfig residuals = plan_of(config_of(mode, 0.9));
    Network whole(residuals, DType::kF32);
    Network resumed(residuals, DType::kF32);
    for (std::int64_t step = 0; step < 3; ++step) {
      whole.gradients({.step = step});
    }
    for (const auto& [name, tensor] : whole.store().all()) {  // as a checkpoint brings it back
      cast(resumed.store().get(name, tensor.shape()), tensor);
    }
    const Tensors a = whole.gradients({.step = 3});
    const Tensors b = resumed.gradients({.step = 3});
    for (std::size_t i = 0; i < a.size(); ++i) {
      CHECK(values_of(a[i]) == values_of(b[i]));
    }
  }
}

TEST_CASE("sketches take the same bytes after a thousand steps and for any batch", "[ops]") {
  for (const EmaSketchMode mode : kModes) {
    INFO(enum_name(mode));
    std::vector<std::int64_t> bytes;
    for (const std::int64_t rows : {16, 48}) {
      Network sketched(plan_of(config_of(mode, 0.9)), DType::kF32);
      sketched.gradients({.rows = rows});
      const std::int64_t before = sketched.sketch_bytes();
      for (std::int64_t step = 1; step < (rows == 16 ? 1000 : 3); ++step) {
        sketched.gradients({.rows = rows, .step = step});
      }
      CHECK(sketched.sketch_bytes() == before);
      bytes.push_back(before);
    }
    // tropp: k numbers more for each row of each of the two layers.
    CHECK(bytes[1] - bytes[0] == (mode == EmaSketchMode::kTropp ? 2 * 5 * 32 * 4 : 0));
  }
}

// d (2k + s) numbers of 4 bytes for each of two layers, t, and three numbers about the batch.
TEST_CASE("planned bytes are those that a step takes", "[ops]") {
  for (const EmaSketchMode mode : kModes) {
    INFO(enum_name(mode));
    Network sketched(plan_of(config_of(mode)), DType::kF32);
    sketched.gradients({});
    std::int64_t kept = 0;
    for (const Node::KeptFacts& facts : sketched.kept()) {
      kept += facts.bytes - (facts.shape == Shape{16, 12} ? 16 * 12 * 4 : 0);
    }
    // The meter counts whole lines of 64 bytes, of sketches, t and what is known of the batch.
    const auto num_tensors = static_cast<std::int64_t>(sketched.store().all().size());
    CHECK(kept <= sketched.sketch_bytes());
    CHECK(sketched.sketch_bytes() < kept + 64 * num_tensors);
    if (mode == EmaSketchMode::kStack) {
      CHECK(kept == (10 + 9) * 15 * 4 + 2 * (1 + 4) * 8);
    }
    Context dry(Device{.is_dry = true});
    StateStore store(dry.allocator());
    dry.attach_state_store(&store);
    Tape tape(ResidualPlan(plan_of(config_of(mode))));
    const Context::Recording recording(dry, &tape);
    Tensor x = dry.empty({16, 12}, DType::kF32);
    for (const std::int64_t width : {10, 9, 6}) {
      const Context::Scope scope(dry, fmt::format("layers.{}", width));
      x = linear(dry, x, tape.watch(dry.empty({width, x.dim(1)}, DType::kF32)), {});
      x = width > 6 ? tanh(dry, x) : x;
    }
    CHECK(dry.meter().current(MemoryTag::kSketches) == sketched.sketch_bytes());
    const Tensor cotangent = dry.empty({1, 16, 6}, DType::kF32);
    const Tensor leaf = x;
    CHECK_NOTHROW(tape.pull(dry, std::span(&leaf, 1), std::span(&cotangent, 1), {},
                            Tape::Parameters::kAccumulate));
  }
}

TEST_CASE("linears that read one input update its sketches once", "[ops]") {
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ctx.attach_state_store(&store);
  Tape tape(ResidualPlan(plan_of(config_of(EmaSketchMode::kStack, 0.9))));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(normal({8, 5}, 1));
  for (const char* name : {"q", "k", "v"}) {
    const Context::Scope scope(ctx, name);
    linear(ctx, x, tape.watch(normal({4, 5}, 2)), {});
  }
  CHECK(values_of(store.find("ema_sketch.at.q.clock"))[0] == 1);
  CHECK_FALSE(store.find("ema_sketch.at.k.clock").defined());
}

TEST_CASE("three cotangents at once pass a sketched linear as three single ones", "[ops]") {
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ctx.attach_state_store(&store);
  Tape tape(ResidualPlan(plan_of(config_of(EmaSketchMode::kLift))));
  const Context::Recording recording(ctx, &tape);
  const Tensor x = tape.watch(normal({8, 5}, 1));
  const Tensor y = linear(ctx, x, tape.watch(normal({4, 5}, 2)), {});
  const Tensor dy = normal({3, 8, 4}, 3);
  const auto all =
      values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1))[0]);
  for (std::int64_t p = 0; p < 3; ++p) {
    const Tensor one = dy.slice(p, p + 1);
    const auto alone =
        values_of(tape.vjp(ctx, std::span(&y, 1), std::span(&one, 1), std::span(&x, 1))[0]);
    CHECK(std::equal(alone.begin(), alone.end(), all.begin() + p * 40));
  }
}

/// Of x [9, 5] and the weight [7, 5] of a head.
Tensors head_gradients(const ResidualsConfig& residuals, const Device& device = {},
                       DType dtype = DType::kF64) {
  Context ctx(device);
  StateStore store(ctx.allocator());
  ctx.attach_state_store(&store);
  Tape tape((ResidualPlan(residuals)));
  const Context::Recording recording(ctx, &tape);
  const auto sent = [&](const Tensor& x, DType in) {
    return to_device(is_floating(x.dtype()) ? as(x, in) : x, ctx.allocator(),
                     MemoryTag::kWorkspace);
  };
  const Tensors in{tape.watch(sent(normal({9, 5}, 1), dtype)),
                   tape.watch(sent(normal({7, 5}, 2), dtype))};
  const Tensor targets = sent(test::integers({9}, 7, 3), DType::kI32);
  const Tensor loss = linear_cross_entropy(ctx, in[0], in[1], targets, {.vocab_size = 7});
  const Tensor seed = sent(test::tensor_of({1, 1}, {0.5}), loss.dtype());
  return tape.vjp(ctx, std::span(&loss, 1), std::span(&seed, 1), in);
}

// bf16 rounds probes, activations and both factors, and Gaussian matrices that are nearly square
// enlarge that.
TEST_CASE("a GPU's averaged sketches give the CPU's gradients", "[ops][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const EmaSketchMode mode : kModes) {
      for (const auto& [dtype, tolerance] :
           {std::pair{DType::kF32, 1e-2}, std::pair{DType::kBF16, 0.3}}) {
        INFO(device.name() << " in " << dtype_name(dtype) << ", " << enum_name(mode));
        const ResidualsConfig plan =
            plan_of(config_of(mode, mode == EmaSketchMode::kTropp ? 0 : 0.5));
        Network on_cpu(plan);
        Network on_gpu(plan, dtype, device);
        for (std::int64_t step = 0; step < 3; ++step) {
          const Tensors expected = on_cpu.gradients({.step = step});
          const Tensors got = on_gpu.gradients({.step = step});
          for (std::size_t i = 0; i < got.size(); ++i) {
            CHECK(relative_difference(got[i], expected[i]) < tolerance);
          }
        }
        const Tensors head = head_gradients(plan, device, dtype);
        CHECK(relative_difference(head[1], head_gradients(plan)[1]) < tolerance);
      }
    }
  }
}

TEST_CASE("heads form their gradient through the sketches", "[ops]") {
  const auto gradients = [](const ResidualsConfig& residuals) { return head_gradients(residuals); };
  const Tensors expected = gradients({});
  const Tensors stacked = gradients(plan_of(config_of(EmaSketchMode::kStack)));  // 15 probes
  CHECK(relative_difference(stacked[0], expected[0]) < 1e-12);
  CHECK(relative_difference(stacked[1], expected[1]) < 1e-9);
  const Tensors lifted = gradients(plan_of(config_of(EmaSketchMode::kLift)));
  CHECK(relative_difference(lifted[0], expected[0]) < 1e-12);
  CHECK(relative_difference(lifted[1], expected[1]) > 1e-3);
  EmaSketchConfig skipping = config_of(EmaSketchMode::kLift, 0.9);
  skipping.warmup = EmaWarmup::kSkip;
  CHECK(relative_difference(gradients(plan_of(skipping))[0], expected[0]) < 1e-12);
  skipping.warmup = EmaWarmup::kExact;
  CHECK(relative_difference(gradients(plan_of(skipping))[1], expected[1]) < 1e-12);
}

TEST_CASE("the rank of a run follows its control", "[ops]") {
  EmaSketchConfig config = config_of(EmaSketchMode::kTropp);
  config.control.adaptive = AdaptiveRank::kError;
  Network sketched(plan_of(config));
  sketched.gradients({});
  const std::int64_t before = sketched.sketch_bytes();
  // |A| of two layers of tanh is 13 at most, and what three dimensions leave is some of it.
  const double error = ema_sketch_error(sketched.store());
  CHECK(error > 1);
  CHECK(error < 20);
  CHECK(adapt_ema_rank(sketched.store(), config, {.error = 2, .grad_norm = 1}));
  sketched.gradients({.step = 1});
  CHECK(sketched.sketch_bytes() > before);
}

TEST_CASE("what averaged sketches need is said where it is missing", "[ops]") {
  const auto run = [](Context& ctx) {
    Tape tape(ResidualPlan(plan_of(config_of(EmaSketchMode::kLift))));
    const Context::Recording recording(ctx, &tape);
    const Context::Scope scope(ctx, "mlp");
    linear(ctx, tape.watch(ctx.empty({8, 5}, DType::kF32)),
           tape.watch(ctx.empty({4, 5}, DType::kF32)), {});
  };
  Context alone(Device{});
  CHECK_THROWS_WITH(run(alone), "keep: ema_sketch of the input of mlp has nowhere to remember");
  Network tropp(plan_of(config_of(EmaSketchMode::kTropp, 0.9)));
  tropp.gradients({});
  CHECK_THROWS_WITH(tropp.gradients({.micro_step = 1}),
                    "residuals.ema_sketch.beta is 0.9 in mode tropp with several micro-batches; "
                    "expected 0");
}

}  // namespace
}  // namespace ghost
