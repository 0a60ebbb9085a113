#include <omp.h>

#include "tests/support/catch.h"
#include "tools/inspect/memory_plan.h"
#include "tools/train/training_step.h"

// Bytes a token and layer of every residual plan against its closed form: the slope of the peak
// over four sizes of B T, of a dry step and of a real one.

namespace ghost {
namespace {

constexpr std::int64_t kChannels = 64;
constexpr std::int64_t kHeads = 4;

using ModelOfLayers = ModelConfig (*)(std::int64_t layers);

ModelConfig gpt(std::int64_t layers) {
  return {.gpt = {.layers = layers,
                  .heads = kHeads,
                  .channels = kChannels,
                  .max_seq_len = 128,
                  .vocab_size = 64,
                  .bias = true}};
}

Config config_with(const ModelConfig& model, const ResidualsConfig& residuals, std::int64_t batch,
                   std::int64_t seq_len) {
  Config config;
  config.model = model;
  config.train.batch_size = batch;
  config.train.seq_len = seq_len;
  config.residuals = residuals;
  return config;
}

std::int64_t planned_peak(const Config& config) {
  return plan_memory(config, 0).peak[static_cast<std::size_t>(MemoryTag::kResiduals)];
}

std::int64_t measured_peak(const Config& config) {
  const auto model = make_model(config.model, 0);
  TrainingStep step(config, *model, Device{});
  step.run(0, [](std::int64_t /*micro_step*/, std::span<std::int32_t> inputs,
                 std::span<std::int32_t> targets) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = static_cast<std::int32_t>(i * 7 % 64);
      targets[i] = static_cast<std::int32_t>((i * 7 + 7) % 64);
    }
  });
  return step.context().meter().peak(MemoryTag::kResiduals);
}

/// Least squares over four sizes of B T, of the peak of three layers less that of two.
template <typename Peak>
double bytes_per_token_and_layer(ModelOfLayers model, const ResidualsConfig& residuals,
                                 Peak&& peak) {
  constexpr std::array<std::pair<std::int64_t, std::int64_t>, 4> kSizes = {
      {{1, 32}, {2, 32}, {1, 96}, {2, 64}}};
  double n = 0;
  double x_sum = 0;
  double y_sum = 0;
  double xx_sum = 0;
  double xy_sum = 0;
  for (const auto& [batch, seq_len] : kSizes) {
    const auto x = static_cast<double>(batch * seq_len);
    const auto y = static_cast<double>(peak(config_with(model(3), residuals, batch, seq_len)) -
                                       peak(config_with(model(2), residuals, batch, seq_len)));
    n += 1;
    x_sum += x;
    y_sum += y;
    xx_sum += x * x;
    xy_sum += x * y;
  }
  return (n * xy_sum - x_sum * y_sum) / (n * xx_sum - x_sum * x_sum);
}

/// What one block keeps for a token: numbers a channel in each form, and the rest.
struct Form {
  double f32 = 0;
  double bf16 = 0;
  double int8 = 0;   // with a scale of 4 bytes for 128
  double int4 = 0;   // likewise
  double bits8 = 0;  // derivatives, without scales
  double bits4 = 0;
  double statistics = 0;  // numbers of 4 bytes

  double bytes() const {
    const double per_channel = 4 * f32 + 2 * bf16 + (1 + 4.0 / 128) * int8 +
                               (0.5 + 4.0 / 128) * int4 + bits8 + 0.5 * bits4;
    return per_channel * kChannels + 4 * statistics;
  }
};

void check(const ResidualsConfig& residuals, const Form& form, ModelOfLayers model = gpt) {
  // So little work that threads would only wait for each other.
  const int num_threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const double planned = bytes_per_token_and_layer(model, residuals, planned_peak);
  const double measured = bytes_per_token_and_layer(model, residuals, measured_peak);
  omp_set_num_threads(num_threads);
  CHECK(planned == Approx(form.bytes()).epsilon(1e-3));
  CHECK(measured == planned);
}

constexpr double kMeanAndRstd = 2;
constexpr double kLse = kHeads;

TEST_CASE("exact plans keep 16, 10, 12 and 1 numbers a channel", "[tools]") {
  // x, ln_1, q k v, o, x', ln_2, z, gelu(z)
  check({}, {.f32 = 16, .statistics = 2 * kMeanAndRstd + kLse});
  check({.recompute = Recompute::kCheap}, {.f32 = 10, .statistics = 2 * kMeanAndRstd + kLse});
  // x, o (the projection reads it), x', ln_2, z, gelu(z)
  check({.recompute = Recompute::kAttention}, {.f32 = 12, .statistics = kMeanAndRstd});
  check({.rules = {{.role = "linear_input", .keep = Keep::kRecompute}},
         .recompute = Recompute::kAttention},
        {.f32 = 7, .statistics = kMeanAndRstd});
  check({.recompute = Recompute::kBlock}, {.f32 = 1});
}

TEST_CASE("bf16 plans keep the same numbers in 2 bytes", "[tools]") {
  constexpr Keep kKeep = Keep::kBF16;
  check({.keep = kKeep}, {.bf16 = 16, .statistics = 2 * kMeanAndRstd + kLse});
  check({.keep = kKeep, .recompute = Recompute::kCheap},
        {.bf16 = 10, .statistics = 2 * kMeanAndRstd + kLse});
  check({.keep = kKeep, .recompute = Recompute::kAttention},
        {.bf16 = 12, .statistics = kMeanAndRstd});
  check({.keep = kKeep, .recompute = Recompute::kBlock}, {.bf16 = 1});
}

TEST_CASE("block inputs in 8 and 4 bits", "[tools]") {
  for (const Keep base : {Keep::kExact, Keep::kBF16}) {
    check({.keep = base,
           .rules = {{.role = "block_input", .keep = Keep::kInt8}},
           .recompute = Recompute::kBlock},
          {.int8 = 1});
    check({.keep = base,
           .rules = {{.role = "block_input", .keep = Keep::kInt4}},
           .recompute = Recompute::kBlock},
          {.int4 = 1});
  }
}

// Spec 5.2 F to H as far as they need no sketches. Outputs of norms come from their normalised
// inputs; what linears read that cannot be made again stays exact: o, and gelu(z) without z.
std::vector<ResidualRule> packed(Keep derivative) {
  return {{.role = "norm_input", .keep = Keep::kInt8},
          {.role = "attention_qkv", .keep = Keep::kInt8},
          {.role = "attention_output", .keep = Keep::kInt8},
          {.role = "block_input", .keep = Keep::kInt8},
          {.role = "activation_input", .keep = derivative},
          {.role = "linear_input", .keep = Keep::kRecompute}};
}

TEST_CASE("packed plans keep one byte a number and rstd", "[tools]") {
  for (const Keep base : {Keep::kExact, Keep::kBF16}) {
    // xhat_1, q k v, o, xhat_2 | o, gelu(z) | gelu'(z)
    check({.keep = base, .rules = packed(Keep::kDerivative8)},
          {.f32 = 5, .int8 = 6, .bits8 = 4, .statistics = 2 + kLse});
    check({.keep = base, .rules = packed(Keep::kDerivative4)},
          {.f32 = 5, .int8 = 6, .bits4 = 4, .statistics = 2 + kLse});
    // z instead of gelu'(z): gelu(z) is made again.
    check({.keep = base, .rules = packed(Keep::kInt8)},
          {.f32 = 1, .int8 = 10, .statistics = 2 + kLse});
    // x, xhat_2 | o, gelu(z) | gelu'(z)
    check({.keep = base, .rules = packed(Keep::kDerivative8), .recompute = Recompute::kAttention},
          {.f32 = 5, .int8 = 2, .bits8 = 4, .statistics = 1});
  }
}

// Options D to I of the method's analysis: what is left beside sketches, which do not grow with the
// tokens.
TEST_CASE("presets keep the bytes of their closed forms", "[tools]") {
  const auto preset = [](ResidualPreset named, Keep base) {
    return ResidualsConfig{.preset = named, .keep = base, .sketch = {.rank = 4, .lambda = 0}};
  };
  for (const Keep base : {Keep::kExact, Keep::kBF16}) {
    const auto form = [&](double numbers, double statistics) {
      return base == Keep::kExact ? Form{.f32 = numbers, .statistics = statistics}
                                  : Form{.bf16 = numbers, .statistics = statistics};
    };
    // x, ln_1, q k v, o, x', z
    check(preset(ResidualPreset::kBasis, base), form(11, 2 * kMeanAndRstd + kLse));
    // x, q k v, o, x', z
    ResidualsConfig all = preset(ResidualPreset::kBasis, base);
    all.scope = SketchScope::kAllLinear;
    check(all, form(10, 2 * kMeanAndRstd + kLse));
    // xhat_1, q k v, o, xhat_2 | gelu'(z)
    check(preset(ResidualPreset::kBasisInt8, base),
          {.int8 = 6, .bits8 = 4, .statistics = 2 + kLse});
    check(preset(ResidualPreset::kBasisInt8Gelu4, base),
          {.int8 = 6, .bits4 = 4, .statistics = 2 + kLse});
    // x, xhat_2 | gelu'(z)
    check(preset(ResidualPreset::kBasisRecompute, base), {.int8 = 2, .bits4 = 4, .statistics = 1});
    check(preset(ResidualPreset::kGhost, base), form(1, 0));
  }
}

TEST_CASE("everything in int8 and int4", "[tools]") {
  check({.keep = Keep::kInt8}, {.int8 = 16, .statistics = 2 + kLse});
  check({.keep = Keep::kInt4}, {.int4 = 16, .statistics = 2 + kLse});
}

// Mixers: n = N / channels = 1/2, 8 heads of 16, 8 angles.
constexpr double kN = 0.5;
constexpr double kSsmHeads = 8;
constexpr double kAngles = 8;

ModelConfig mixers(ModelType type, std::int64_t layers) {
  ModelConfig config{.type = type};
  config.hybrid = {.layers = layers,
                   .channels = kChannels,
                   .layer_types = {{LayerType::kAttention}},
                   .vocab_size = 64,
                   .mamba2 = {.state = 32, .head_dim = 16, .chunk = 16},
                   .mamba3 = {.state = 32, .head_dim = 16, .chunk = 16},
                   .attention = {.heads = kHeads, .conv = 4, .mlp = 2 * kChannels}};
  return config;
}
ModelConfig mamba2(std::int64_t layers) { return mixers(ModelType::kMamba2, layers); }
ModelConfig mamba3(std::int64_t layers) { return mixers(ModelType::kMamba3, layers); }
constexpr double kRanks = 4;
ModelConfig mimo(std::int64_t layers) {
  ModelConfig config = mixers(ModelType::kMamba3, layers);
  config.hybrid.mamba3.mimo_rank = static_cast<std::int64_t>(kRanks);
  return config;
}
ModelConfig mimo_with_norm(std::int64_t layers) {
  ModelConfig config = mimo(layers);
  config.hybrid.mamba3.is_outproj_norm = true;
  return config;
}
ModelConfig transformer(std::int64_t layers) { return mixers(ModelType::kHybrid, layers); }

// rstd of both norms, dt
constexpr double kMamba2Statistics = 2 + kSsmHeads;
// rstd of three norms, three projections and two more numbers a head, angles
constexpr double kMamba3Statistics = 3 + 5 * kSsmHeads + kAngles;

struct Mamba {
  ModelOfLayers model;
  double statistics;
};
constexpr Mamba kMambas[] = {{mamba2, kMamba2Statistics}, {mamba3, kMamba3Statistics}};

TEST_CASE("exact plans of Mamba keep what their closed forms say", "[tools]") {
  // x, norm, z, x B C before and after the convolution, y, what out_proj reads
  check({}, {.f32 = 12 + 4 * kN, .statistics = kMamba2Statistics}, mamba2);
  // x, norm, z, x, B and C before and after their norms, o, what out_proj reads
  check({}, {.f32 = 10 + 4 * kN, .statistics = kMamba3Statistics}, mamba3);
  for (const auto& [model, statistics] : kMambas) {
    // x, z, x B C, y: 14 + 4 n bytes in bf16
    check({.recompute = Recompute::kCheap}, {.f32 = 7 + 2 * kN, .statistics = statistics}, model);
    check({.keep = Keep::kBF16, .recompute = Recompute::kCheap},
          {.bf16 = 7 + 2 * kN, .statistics = statistics}, model);
    // x, what out_proj reads
    check({.recompute = Recompute::kAttention}, {.f32 = 3}, model);
    check({.recompute = Recompute::kBlock}, {.f32 = 1}, model);
  }
}

TEST_CASE("presets of Mamba keep the bytes of their closed forms", "[tools]") {
  for (const auto& [model, statistics] : kMambas) {
    const auto preset = [](ResidualPreset named) {
      return ResidualsConfig{.preset = named, .sketch = {.rank = 4, .lambda = 0}};
    };
    // Both projections are sketched, the norms' and the convolution's outputs made again.
    ResidualsConfig basis = preset(ResidualPreset::kBasis);
    basis.scope = SketchScope::kAllLinear;
    basis.recompute = Recompute::kCheap;
    check(basis, {.f32 = 7 + 2 * kN, .statistics = statistics}, model);
    check(preset(ResidualPreset::kBasisInt8), {.int8 = 7 + 2 * kN, .statistics = statistics},
          model);
    check(preset(ResidualPreset::kBasisRecompute), {.int8 = 1}, model);
    check(preset(ResidualPreset::kGhost), {.f32 = 1}, model);
  }
}

// B, C and o are there once for each rank, x and z once.
TEST_CASE("plans of MIMO keep what their closed forms say", "[tools]") {
  // rstd of the pre-norm and of B and C, the latter of each rank; of a norm, one a head and rank.
  constexpr double kOfMixer = 5 * kSsmHeads + kAngles;
  constexpr double kStatistics = 1 + 2 * kRanks + kOfMixer;
  constexpr double kOfNorm = kRanks * kSsmHeads;
  // x, norm, z, x, B and C before and after their norms, o, what out_proj reads
  check({}, {.f32 = 8 + (2 + 4 * kN) * kRanks, .statistics = kStatistics}, mimo);
  check({}, {.f32 = 8 + (4 + 4 * kN) * kRanks, .statistics = kStatistics + kOfNorm},
        mimo_with_norm);
  for (const ModelOfLayers model : {mimo, mimo_with_norm}) {
    const double statistics = kStatistics + (model == mimo ? 0 : kOfNorm);
    // x, z, x, B, C and o: outputs of norms and of the gate are made again.
    const double numbers = 5 + (2 + 2 * kN) * kRanks;
    check({.recompute = Recompute::kCheap}, {.f32 = numbers, .statistics = statistics}, model);
    check({.keep = Keep::kBF16, .recompute = Recompute::kCheap},
          {.bf16 = numbers, .statistics = statistics}, model);
    // The preset keeps what the gate reads, be it the output of a norm.
    check({.preset = ResidualPreset::kBasisInt8, .sketch = {.rank = 4, .lambda = 0}},
          {.int8 = numbers + (model == mimo ? 0 : 2 * kRanks), .statistics = statistics}, model);
    check({.recompute = Recompute::kAttention}, {.f32 = 3}, model);
    check({.recompute = Recompute::kBlock}, {.f32 = 1}, model);
    check({.preset = ResidualPreset::kGhost, .sketch = {.rank = 4, .lambda = 0}}, {.f32 = 1},
          model);
  }
}

TEST_CASE("an attention block of a hybrid keeps the bytes of its closed form", "[tools]") {
  // x, norm, q k v before and after convolution and rotation, o | x', norm, gate and up, their
  // product; two rstd, log-sum-exp
  check({}, {.f32 = 9 + 2 + 3 * 2, .statistics = 2 + kLse}, transformer);
  check({.recompute = Recompute::kCheap}, {.f32 = 8 + 1 + 2 * 2, .statistics = 2 + kLse},
        transformer);
  check({.recompute = Recompute::kBlock}, {.f32 = 1}, transformer);
}

}  // namespace
}  // namespace ghost
