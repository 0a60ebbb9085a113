#include <cmath>
#include <string>

#include "engine/autograd/state_store.h"
#include "engine/tensor/primitives.h"
#include "ops/ema_sketch.h"
#include "ops/linear.h"
#include "ops/rank_controller.h"
#include "ops/three_sketch.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

Tensor as(const Tensor& x, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

Tensor tensor_of(const DenseMatrix& x) {
  return test::tensor_of({x.rows(), x.columns()}, {x.elements().begin(), x.elements().end()});
}

/// The scalars of a case; those of cases over several steps.
struct Facts {
  explicit Facts(const test::GoldenCase& golden)
      : scalars(golden.manifest().at("scalars")),
        names{.seed = std::stoull(scalars.at("seed_hex").get<std::string>(), nullptr, 16),
              .generation = scalars.at("reinit")} {}
  std::int64_t number(const char* name) const { return scalars.at(name); }

  nlohmann::json scalars;
  ProbeNames names;
};

void check_probes(const test::GoldenCase& golden, test::GoldenErrors& errors) {
  const Facts facts(golden);
  Context ctx(Device{});
  const auto check = [&](ProbeId id, const std::string& name) {
    const Tensor expected = golden.array(name);
    const Tensor drawn = ctx.empty(expected.shape(), DType::kF64);
    facts.names.matrix(id, expected.dim(1)).draw(drawn);
    errors.check(name, drawn, expected, 1e-12);
  };
  if (golden.has("Upsilon")) {
    check(ProbeId::kUpsilon, "Upsilon");
    check(ProbeId::kOmega, "Omega");
    check(ProbeId::kPhi, "Phi");
    for (std::int64_t layer = 1; layer <= facts.number("layers"); ++layer) {
      const Tensor expected = golden.array(fmt::format("Psi_{}", layer));
      const auto psi = draw_psi(facts.names, layer, facts.number("s"));
      errors.check("Psi", test::tensor_of(expected.shape(), psi), expected, 1e-12);
    }
  } else {
    check(ProbeId::kUpsilonFeatures, "Upsilon_f");
    check(ProbeId::kOmegaBatch, "Omega_b");
    check(ProbeId::kPhiFeatures, "Phi_f");
    check(ProbeId::kPsiBatch, "Psi_b");
  }
}

// A_l has X of layer l + 1 and Y and Z of layer l.
void check_updates(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const Facts facts(golden);
  const double tolerance = dtype == DType::kF64 ? 1e-8 : 1e-4;
  const std::int64_t layers = facts.number("layers");
  const double beta = facts.scalars.at("beta");
  const ThreeSketchLayout layout{.k = facts.number("k"), .s = facts.number("s")};
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  const Tensor probes = draw_probes(ctx, layout, facts.names, 0, facts.number("batch"), dtype);
  std::vector<ThreeSketch> sketches;
  for (std::int64_t l = 0; l <= layers; ++l) {
    sketches.emplace_back(store, fmt::format("{}", l), layout, facts.scalars.at("dims")[l], dtype);
  }
  for (std::int64_t t = 1; t <= facts.number("steps"); ++t) {
    for (std::int64_t l = 0; l <= layers; ++l) {
      ThreeSketch& sketch = sketches[static_cast<std::size_t>(l)];
      sketch.update(ctx, as(golden.array(fmt::format("t{}_A_{}", t, l)), dtype), probes,
                    {.beta = beta});
      const auto check = [&](const char* name, std::int64_t layer, const DenseMatrix& got) {
        errors.check(fmt::format("{} {}", dtype_name(dtype), name), tensor_of(got),
                     golden.array(fmt::format("t{}_{}_{}", t, name, layer)), tolerance);
      };
      if (l < layers) {
        check("X", l + 1, sketch.x());
      }
      if (l > 0) {
        check("Y", l, sketch.y());
        check("Z", l, sketch.z(draw_psi(facts.names, l, layout.s)));
      }
    }
  }
}

/// Golden weights are [d_in, d_out], ours the other way round.
Tensor transposed(const Tensor& x) { return tensor_of(DenseMatrix::from(x).transposed()); }

Tensor product_of(const RebuiltInput& rebuilt) { return tensor_of(product(rebuilt.u, rebuilt.v)); }

// One linear for each layer on a tape, with the golden input and cotangent; the gradients that the
// plan makes of the sketches.
void check_gradients(const test::GoldenCase& golden, EmaSketchMode mode, DType dtype,
                     test::GoldenErrors& errors) {
  const Facts facts(golden);
  const bool is_f64 = dtype == DType::kF64;
  const double beta = facts.scalars.at("beta");
  const std::int64_t rank = facts.scalars.at("r");
  const EmaSketchConfig config{.mode = mode,
                               .rank = rank,
                               .beta = beta,
                               .warmup = EmaWarmup::kNone,
                               .seed = static_cast<std::int64_t>(facts.names.seed)};
  REQUIRE(facts.number("k") == config.k(rank));
  REQUIRE(facts.number("s") == config.s(rank));
  const bool is_two_qr = mode == EmaSketchMode::kTwoQr;
  const double tolerance = is_two_qr ? (is_f64 ? 1e-6 : 1e-2) : (is_f64 ? 1e-8 : 1e-3);
  const std::string array = is_two_qr ? "twoqr" : std::string(enum_name(mode));
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  ctx.attach_state_store(&store);
  const std::int64_t layers = facts.number("layers");
  for (std::int64_t t = 1; t <= facts.number("steps"); ++t) {
    Tape tape(ResidualPlan({.rules = {{.keep = Keep::kEmaSketch}}, .ema_sketch = config}));
    const Context::Recording recording(ctx, &tape);
    ctx.begin_pass(/*seed=*/1, /*step=*/t);
    Tensors outputs;
    Tensors cotangents;
    Tensors weights;
    for (std::int64_t l = 1; l <= layers; ++l) {
      const Context::Scope scope(ctx, fmt::format("layer{}", l));
      const Tensor x = tape.watch(as(golden.array(fmt::format("t{}_A_{}", t, l - 1)), dtype));
      weights.push_back(tape.watch(as(transposed(golden.array(fmt::format("W_{}", l))), dtype)));
      outputs.push_back(linear(ctx, x, weights.back(), {}));
      cotangents.push_back(
          as_cotangent(as(golden.array(fmt::format("t{}_delta_{}", t, l)), dtype)));
    }
    const Tensors grads = tape.vjp(ctx, outputs, cotangents, weights);
    for (std::int64_t l = 1; l <= layers; ++l) {
      const std::string name = fmt::format("t{}_{}_grad_{}", t, array, l);
      if (golden.has(name)) {
        const Tensor grad = grads[static_cast<std::size_t>(l - 1)];
        errors.check(fmt::format("{} {}_grad", dtype_name(dtype), array),
                     transposed(as(grad.reshape(grad.shape().without_first()), DType::kF64)),
                     golden.array(name), tolerance);
      }
    }
  }
}

// From the golden sketches of the last step.
void check_rebuilt(const test::GoldenCase& golden, test::GoldenErrors& errors) {
  const Facts facts(golden);
  const std::int64_t t = facts.number("steps");
  const double beta = facts.scalars.at("beta");
  const double correction = 1 / (1 - std::pow(beta, static_cast<double>(t)));
  const auto matrix = [&](const char* name, std::int64_t layer) {
    return DenseMatrix::from(golden.array(fmt::format("t{}_{}_{}", t, name, layer)));
  };
  const auto probes = [&](const char* name) { return DenseMatrix::from(golden.array(name)); };
  const auto z_over_psi = [&](std::int64_t layer) {
    DenseMatrix z = matrix("Z", layer);
    std::vector<double> inverse = draw_psi(facts.names, layer, facts.number("s"));
    for (double& factor : inverse) {
      factor = 1 / factor;
    }
    z.scale_columns(inverse);
    return z;
  };
  const auto check = [&](const char* name, std::int64_t layer, const Tensor& got,
                         double tolerance) {
    errors.check(name, got, golden.array(fmt::format("t{}_{}_{}", t, name, layer)), tolerance);
  };
  OperatorChain chain;
  for (std::int64_t l = 0; l <= facts.number("layers"); ++l) {
    const bool is_last = l == facts.number("layers");
    if (!is_last) {
      RebuiltInput lifted = lift(probes("Upsilon"), matrix("X", l + 1));
      lifted.v.scale(correction);
      check("lift_A", l, product_of(lifted), 1e-8);
    }
    if (l == 0) {
      continue;
    }
    if (!is_last) {
      RebuiltInput stacked =
          lift(beside(beside(probes("Upsilon"), probes("Omega")), probes("Phi")),
               beside(beside(matrix("X", l + 1), matrix("Y", l)), z_over_psi(l)));
      stacked.v.scale(correction);
      check("stack_A", l, product_of(stacked), 1e-8);
    }
    const LayerOperator op = layer_operator(matrix("X", l), matrix("Y", l), z_over_psi(l));
    check("twoqr_G", l, tensor_of(product(product(op.q_y, op.core), op.q_x.transposed())), 1e-6);
    chain = l == 1 ? first_link(op) : next_link(chain, op);
    if (!is_last) {
      const DenseMatrix rebuilt = product(product(matrix("A", 0), chain.left), chain.right);
      check("twoqr_A", l, tensor_of(rebuilt), 1e-6);
    }
  }
}

void check_short_batch(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const Facts facts(golden);
  const std::int64_t batch = facts.number("batch");
  const std::int64_t rows = facts.number("short_rows");
  const double beta = facts.scalars.at("beta");
  const ThreeSketchLayout layout{.k = facts.number("k"), .has_y = false, .has_z = false};
  for (const bool is_rescaled : {false, true}) {
    Context ctx(Device{});
    StateStore store(ctx.allocator());
    const Tensor a = as(golden.array("short_A_0"), dtype);
    ThreeSketch sketch(store, "a", layout, a.dim(1), dtype);
    const Tensor probes = draw_probes(ctx, layout, facts.names, 0, batch, dtype);
    for (std::int64_t t = 1; t <= facts.number("steps"); ++t) {
      sketch.update(ctx, as(golden.array(fmt::format("t{}_A_0", t)), dtype), probes,
                    {.beta = beta});
    }
    const double weight =
        is_rescaled ? std::sqrt(static_cast<double>(batch) / static_cast<double>(rows)) : 1.0;
    sketch.update(ctx, a, probes, {.beta = beta, .weight = weight});
    const std::string name = is_rescaled ? "short_X_1_rescaled" : "short_X_1";
    errors.check(fmt::format("{} {}", dtype_name(dtype), name), tensor_of(sketch.x()),
                 golden.array(name), dtype == DType::kF64 ? 1e-8 : 1e-4);
  }
}

void check_two_sided(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const Facts facts(golden);
  const double tolerance = dtype == DType::kF64 ? 1e-8 : 1e-3;
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  TwoSidedSketch sketch(store, "a", {.k = facts.number("k"), .s = facts.number("s")}, facts.names,
                        /*layer=*/0, facts.number("rows"), facts.number("d"), dtype);
  sketch.update(ctx, as(golden.array("A"), dtype), /*beta=*/0);
  const auto check = [&](const char* name, const DenseMatrix& got) {
    errors.check(fmt::format("{} tropp {}", dtype_name(dtype), name), tensor_of(got),
                 golden.array(name), tolerance);
  };
  check("X", sketch.x());
  check("Y", sketch.y());
  check("Z", sketch.z());
  const RebuiltInput whole = sketch.rebuild();
  const RebuiltInput cut = sketch.rebuild(facts.number("r"));
  check("A_hat", product(whole.u, whole.v));
  check("A_hat_rank_r", product(cut.u, cut.v));
  const DenseMatrix delta = DenseMatrix::from(golden.array("delta"));
  check("grad_hat", transposed_product(whole.v, transposed_product(whole.u, delta)));
}

TEST_CASE("probes and sketches agree with the golden vectors", "[ops][golden][ema_sketch]") {
  test::GoldenErrors errors("ema_sketch");
  for (const test::GoldenCase& golden : test::golden_cases("ema_sketch")) {
    INFO(golden.name());
    check_probes(golden, errors);
    if (golden.has("Upsilon")) {
      check_updates(golden, DType::kF64, errors);
      check_updates(golden, DType::kF32, errors);
    }
  }
}

TEST_CASE("rebuilt inputs and gradients agree with the golden vectors",
          "[ops][golden][ema_sketch]") {
  test::GoldenErrors errors("ema_sketch");
  for (const test::GoldenCase& golden : test::golden_cases("ema_sketch")) {
    INFO(golden.name());
    for (const DType dtype : {DType::kF64, DType::kF32}) {
      if (!golden.has("Upsilon")) {
        check_two_sided(golden, dtype, errors);
        continue;
      }
      for (const EmaSketchMode mode :
           {EmaSketchMode::kLift, EmaSketchMode::kStack, EmaSketchMode::kTwoQr}) {
        check_gradients(golden, mode, dtype, errors);
      }
      if (golden.has("short_X_1")) {
        check_short_batch(golden, dtype, errors);
      }
    }
    if (golden.has("Upsilon")) {
      check_rebuilt(golden, errors);
    }
  }
}

TEST_CASE("the rank follows the golden trace", "[ops][golden][ema_sketch]") {
  for (const nlohmann::json& family : test::golden_manifests("ema_sketch")) {
    if (!family.contains("rank_controller")) {
      continue;
    }
    const nlohmann::json& facts = family.at("rank_controller");
    const nlohmann::json& parameters = facts.at("parameters");
    RankController control({.min_rank = parameters.at("r_min"),
                            .max_rank = parameters.at("r_max"),
                            .patience_up = parameters.at("patience_up"),
                            .patience_down = parameters.at("patience_down"),
                            .step_up = parameters.at("step_up"),
                            .step_down = parameters.at("step_down"),
                            .min_improvement = parameters.at("min_rel_improvement")},
                           parameters.at("r0"));
    for (const nlohmann::json& epoch : facts.at("trace")) {
      CHECK(control.observe_loss(epoch.at("loss")) == epoch.at("reinit").get<bool>());
      CHECK(control.rank() == epoch.at("rank").get<std::int64_t>());
    }
  }
}

}  // namespace
}  // namespace ghost
