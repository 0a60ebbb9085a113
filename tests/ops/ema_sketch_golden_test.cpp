#include <cmath>
#include <string>

#include "engine/autograd/state_store.h"
#include "engine/tensor/primitives.h"
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

}  // namespace
}  // namespace ghost
