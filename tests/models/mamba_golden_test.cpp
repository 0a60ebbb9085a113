#include "engine/tensor/primitives.h"
#include "models/hybrid/hybrid_block.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

// y = u + Mixer(RMSNorm(u)): whole blocks, under the names of the golden parameters.

namespace ghost {
namespace {

HybridConfig config_of(const test::GoldenCase& golden) {
  const auto& sizes = golden.manifest().at("sizes");
  HybridConfig config{.layers = 1,
                      .channels = sizes.at("d_model"),
                      .norm_eps = sizes.at("eps"),
                      .rescale_out_proj = false};
  if (sizes.contains("d_conv")) {
    config.mamba2 = {.state = sizes.at("N"),
                     .head_dim = sizes.at("P"),
                     .groups = sizes.at("G"),
                     .conv = sizes.at("d_conv"),
                     .chunk = sizes.at("chunk")};
    CHECK(config.mamba2.norm_group_size(config.channels) == sizes.at("norm_group_size"));
  } else {
    config.layer_types = {{LayerType::kMamba3}};
    config.mamba3 = {.state = sizes.at("N"),
                     .head_dim = sizes.at("P"),
                     .groups = sizes.at("G"),
                     .chunk = sizes.at("chunk"),
                     .rope_fraction = sizes.at("rope_fraction"),
                     .a_activation = sizes.at("A_activation") == "softplus"
                                         ? DecayActivation::kSoftplus
                                         : DecayActivation::kHeavyTail,
                     .a_floor = sizes.at("A_floor")};
    CHECK(config.mamba3.angles() == sizes.at("S"));
  }
  return config;
}

void check_block(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const bool is_exact = dtype == DType::kF64;
  const auto label = [&](const std::string& name) {
    return fmt::format("{} {} block {}", golden.name(), dtype_name(dtype), name);
  };
  const auto as = [&](const Tensor& x, const Context& ctx) {
    Tensor out = ctx.empty(x.shape(), dtype);
    cast(out, x);
    return out;
  };
  Context ctx(Device{});
  ParameterStore parameters;
  const HybridBlock block(config_of(golden), /*index=*/0, parameters);
  parameters.materialize(ctx.allocator(), dtype);
  const std::string prefix = "backbone.layers.0.";
  for (const std::string& name : golden.names("param/")) {
    Parameter* parameter = parameters.find(prefix + name);
    INFO(name);
    REQUIRE(parameter != nullptr);
    cast(parameter->value, golden.array("param/" + name));
  }
  CHECK(parameters.all().size() == golden.names("param/").size());

  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor u = tape.watch(as(golden.array("input/u"), ctx));
  const Tensor y = block.forward(ctx, u);
  errors.check(label("y"), y, golden.array("output/y"), is_exact ? 1e-10 : 1e-4);
  const Tensor dy = as(golden.array("cotangent/y"), ctx).reshape(y.shape().with_first(1));
  parameters.begin_gradients();
  const Tensor du = tape.pull(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&u, 1),
                              Tape::Parameters::kAccumulate)[0];
  const double tolerance = is_exact ? 1e-9 : 1e-4;
  errors.check(label("grad u"), du, golden.array("grad/u"), tolerance);
  for (const std::string& name : golden.names("param/")) {
    errors.check(label("grad " + name), parameters.find(prefix + name)->grad,
                 golden.array("grad/" + name), tolerance);
  }

  // The same tokens one by one.
  const auto state = block.start(ctx, u.dim(0), u.dim(1));
  const Context::Recording off(ctx, nullptr);
  std::vector<double> steps(static_cast<std::size_t>(y.numel()));
  for (std::int64_t t = 0; t < u.dim(1); ++t) {
    const std::int64_t channels = u.dim(2);
    const Tensor token = ctx.empty({u.dim(0), 1, channels}, dtype);
    for (std::int64_t b = 0; b < u.dim(0); ++b) {
      copy(token.slice(b, b + 1).reshape({channels}),
           u.slice(b, b + 1).reshape({u.dim(1), channels}).slice(t, t + 1));
    }
    const auto out = test::values_of(block.step(ctx, token, *state));
    for (std::int64_t b = 0; b < u.dim(0); ++b) {
      std::copy_n(out.begin() + b * channels, channels,
                  steps.begin() + (b * u.dim(1) + t) * channels);
    }
  }
  errors.check(label("y token by token"), test::tensor_of(y.shape(), steps),
               golden.array("output/y"), is_exact ? 1e-10 : 1e-4);
}

void check_family(const std::string& family) {
  test::GoldenErrors errors(family);
  for (const test::GoldenCase& golden : test::golden_cases(family)) {
    INFO(golden.name());
    if (golden.has("input/u")) {
      check_block(golden, DType::kF64, errors);
      check_block(golden, DType::kF32, errors);
    }
  }
}

TEST_CASE("Mamba-2 blocks agree with the golden vectors", "[models][golden][mamba2]") {
  check_family("mamba2");
}

TEST_CASE("Mamba-3 blocks agree with the golden vectors", "[models][golden][mamba3]") {
  check_family("mamba3");
}

}  // namespace
}  // namespace ghost
