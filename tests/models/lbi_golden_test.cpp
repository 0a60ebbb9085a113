#include <cmath>
#include <map>

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "models/hybrid/hybrid.h"
#include "models/lbi/lbi_model.h"
#include "models/lbi/region_pass.h"
#include "ops/arithmetic.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

// Whole models of regions: states, Jacobians, suffix products, adjoints, every gradient. Regions
// are one block each: a Hybrid's attention block without positions, or the block below.

namespace ghost {
namespace {

using test::GoldenCase;
using test::values_of;

class Tanh final : public Op {
 public:
  std::string_view name() const override { return "tanh"; }
  ResidualSpecs residuals() const override { return {{"y", Role::kStatistic}}; }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    visit_real(x.dtype(), [&]<typename T>() {
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        y.data<T>()[i] = std::tanh(x.data<T>()[i]);
      }
    });
    node.keep("y", y);
    return {y};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Tensor y = node.residual("y");
    Tensor dx = ctx.empty_like(dy);
    visit_real(y.dtype(), [&]<typename T>() {
      for (std::int64_t i = 0; i < dy.numel(); ++i) {
        const T value = y.data<T>()[i % y.numel()];
        dx.data<T>()[i] = dy.data<T>()[i] * (1 - value * value);
      }
    });
    pullback.give(0, dx);
  }
};

/// y = x + W2 tanh(W1 x + b1) + b2
class MlpBlock final : public Block {
 public:
  MlpBlock(ParameterStore& store, const std::string& prefix, std::int64_t channels,
           std::int64_t hidden) {
    ModuleParameters own(store, prefix, /*decay_all=*/false);
    w1_ = own.linear("fc1.weight", hidden, channels);
    b1_ = own.undecayed("fc1.bias", {hidden}, {});
    w2_ = own.linear("fc2.weight", channels, hidden);
    b2_ = own.undecayed("fc2.bias", {channels}, {});
  }
  Tensor forward(Context& ctx, const Tensor& x) const override {
    Tensor h = linear(ctx, x, ctx.use(*w1_), ctx.use(*b1_));
    h = ctx.apply<Tanh>({h});
    return add(ctx, x, linear(ctx, h, ctx.use(*w2_), ctx.use(*b2_)));
  }
  std::unique_ptr<BlockState> start(Context& /*ctx*/, std::int64_t /*batch*/,
                                    std::int64_t /*max_length*/) const override {
    return std::make_unique<BlockState>();
  }
  Tensor step(Context& ctx, const Tensor& x, BlockState& /*state*/) const override {
    return forward(ctx, x);
  }

 private:
  Parameter* w1_;
  Parameter* b1_;
  Parameter* w2_;
  Parameter* b2_;
};

/// Untied, with the names of a Hybrid.
class MlpModel final : public LayeredModel {
 public:
  explicit MlpModel(const nlohmann::json& config)
      : layers_(config.at("regions")),
        channels_(config.at("dim")),
        vocab_(config.at("vocab")),
        eps_(config.at("rmsnorm_eps")) {
    ModuleParameters own(parameters_, "", /*decay_all=*/false);
    embedding_ = own.weight("backbone.embedding.weight", {vocab_, channels_}, {});
    for (std::int64_t i = 0; i < layers_; ++i) {
      blocks_.add(std::make_unique<MlpBlock>(parameters_, block_prefix(i), channels_,
                                             config.at("region_ff")));
    }
    norm_ = own.gain("backbone.norm_f.weight", channels_);
    head_ = own.linear("lm_head.weight", vocab_, channels_);
  }

  std::string_view architecture() const override { return "mlp"; }
  std::int64_t vocab_size() const override { return vocab_; }
  std::int64_t padded_vocab_size() const override { return vocab_; }
  std::int64_t max_seq_len() const override { return 0; }
  std::int64_t num_layers() const override { return layers_; }
  double flops_per_token(std::int64_t /*seq_len*/) const override { return 0; }
  std::string_view flops_formula() const override { return "0"; }
  std::int64_t channels() const override { return channels_; }
  std::string block_prefix(std::int64_t block) const override {
    return fmt::format("backbone.layers.{}.", block);
  }
  Tensor embed(Context& ctx, const Tensor& tokens, std::int64_t /*start*/) const override {
    return embedding(ctx, tokens, ctx.use(*embedding_));
  }
  Tensor final_norm(Context& ctx, const Tensor& x) const override {
    return rms_norm(ctx, x, ctx.use(*norm_), eps_);
  }
  Parameter& head() const override { return *head_; }
  bool is_head_tied() const override { return false; }

 private:
  std::int64_t layers_;
  std::int64_t channels_;
  std::int64_t vocab_;
  double eps_;
  Parameter* embedding_;
  Parameter* norm_;
  Parameter* head_;
};

std::unique_ptr<LayeredModel> layers_of(const nlohmann::json& config) {
  if (config.at("region_kind") == "mlp") {
    return std::make_unique<MlpModel>(config);
  }
  HybridConfig hybrid{.layers = config.at("regions"),
                      .channels = config.at("dim"),
                      .layer_types = {{LayerType::kAttention}},
                      .vocab_size = config.at("vocab"),
                      .pad_vocab_to = 1,
                      .tied_head = config.at("tied_embeddings"),
                      .norm_eps = config.at("rmsnorm_eps")};
  hybrid.attention = {.heads = 1, .rope_fraction = 0, .mlp = config.at("region_ff")};
  return std::make_unique<Hybrid>(hybrid, "hybrid");
}

RegionsConfig regions_of(const nlohmann::json& config) {
  RegionsConfig regions{.layers_per_region = 1,
                        .state_dim = config.at("state_dim"),
                        .hidden = config.at("interface_hidden")};
  const std::string variant = config.at("variant");
  const auto& options = config.at("variant_options");
  if (variant == "prefixlm") {
    regions.variant = RegionsVariant::kPrefixLm;
    regions.prefix = options.at("P");
  } else if (variant == "anchor") {
    regions.variant = RegionsVariant::kAnchor;
    regions.anchor = options.at("P");
  } else if (variant == "chunk") {
    regions.variant = RegionsVariant::kChunked;
    regions.chunk = options.at("L");
  } else {
    REQUIRE(variant == "paper");
  }
  return regions;
}

/// Where a golden parameter lies: elements of one of ours, from `offset` on.
struct Place {
  std::string parameter;
  std::int64_t offset = 0;
};

Place place_of(const std::string& golden, const nlohmann::json& config) {
  static const std::map<std::string, std::string> kWhole{{"embed", "backbone.embedding.weight"},
                                                         {"final_norm", "backbone.norm_f.weight"},
                                                         {"lm_head", "lm_head.weight"}};
  static const std::map<std::string, std::string> kOfMlp{
      {"W1", "fc1.weight"}, {"b1", "fc1.bias"}, {"W2", "fc2.weight"}, {"b2", "fc2.bias"}};
  if (kWhole.contains(golden)) {
    return {kWhole.at(golden)};
  }
  const std::size_t dot = golden.find('.');
  const std::string module = golden.substr(0, dot);
  const std::string name = golden.substr(dot + 1);
  const std::string index = module.substr(module.find_last_not_of("0123456789") + 1);
  if (module == "init_enc") {
    return {"regions.initial." + kOfMlp.at(name)};
  }
  if (module.starts_with("dec")) {
    return {"regions." + index + ".decoder." + kOfMlp.at(name)};
  }
  if (module.starts_with("enc")) {
    return {"regions." + index + ".encoder." + kOfMlp.at(name)};
  }
  if (module.starts_with("ln")) {
    return {"regions." + index + (name == "gamma" ? ".norm.weight" : ".norm.bias")};
  }
  const std::string block = "backbone.layers." + index + ".";
  if (kOfMlp.contains(name)) {
    return {block + kOfMlp.at(name)};
  }
  const std::int64_t channels = config.at("dim");
  const std::int64_t hidden = config.at("region_ff");
  const std::map<std::string, Place> kOfAttention{
      {"norm1", {"norm.weight"}},
      {"norm2", {"norm2.weight"}},
      {"Wq", {"mixer.in_proj.weight"}},
      {"Wk", {"mixer.in_proj.weight", channels * channels}},
      {"Wv", {"mixer.in_proj.weight", 2 * channels * channels}},
      {"Wo", {"mixer.out_proj.weight"}},
      {"Wg", {"mlp.fc1.weight"}},
      {"Wu", {"mlp.fc1.weight", hidden * channels}},
      {"Wd", {"mlp.fc2.weight"}}};
  const Place place = kOfAttention.at(name);
  return {block + place.parameter, place.offset};
}

class LbiGolden {
 public:
  LbiGolden(const GoldenCase& golden, DType dtype, test::GoldenErrors& errors)
      : golden_(golden),
        config_(golden.manifest().at("config")),
        dtype_(dtype),
        tolerance_(dtype == DType::kF64 ? 1e-10 : 1e-4),
        errors_(errors),
        ctx_(Device{}),
        tokens_(golden.array("ids")),
        targets_(golden.array("targets")) {
    const auto weights = values_of(golden.array("loss_weight"));
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] == 0) {
        targets_.span<std::int32_t>()[i] = -1;
      }
    }
  }

  void check() {
    check_slots();
    check_regions();
    for (const auto& [backward, name] : EnumNames<RegionsBackward>::kNames) {
      for (const auto& [suffix, suffix_name] : EnumNames<SuffixMethod>::kNames) {
        RegionsConfig regions = regions_of(config_);
        regions.backward = backward;
        regions.suffix = suffix;
        regions.columns = 2;
        check_gradients(regions, fmt::format("{} ({})", name, suffix_name));
      }
    }
  }

 private:
  void check(const std::string& array, const Tensor& got) {
    errors_.check(fmt::format("{} {} {}", golden_.name(), dtype_name(dtype_), array), got,
                  golden_.array(array), tolerance_);
  }

  std::unique_ptr<LbiModel> make(const RegionsConfig& regions) {
    auto model = std::make_unique<LbiModel>(regions, layers_of(config_));
    model->parameters().materialize(ctx_.allocator(), dtype_);
    std::int64_t elements = 0;
    for_each_golden([&](const std::string& name, const nlohmann::json& facts) {
      const std::int64_t offset = facts.at("offset");
      const Tensor ours = part_of(*model, name, facts, &Parameter::value);
      cast(ours, golden_.array("params").slice(offset, offset + ours.numel()));
      elements += ours.numel();
    });
    REQUIRE(elements == model->parameters().num_elements());
    return model;
  }

  /// visit(name, {offset, shape}); `scale` is one golden vector and one parameter a region of ours.
  template <typename Visit>
  void for_each_golden(Visit&& visit) {
    for (const auto& [name, facts] : golden_.manifest().at("parameters").items()) {
      if (name != "scale") {
        visit(name, facts);
        continue;
      }
      const std::int64_t first = facts.at("offset");
      const std::int64_t count = config_.at("regions");
      for (std::int64_t k = 0; k < count; ++k) {
        visit(fmt::format("scale{}", k), nlohmann::json{{"offset", first + k}, {"shape", {1}}});
      }
    }
  }

  Tensor part_of(LbiModel& model, const std::string& name, const nlohmann::json& facts,
                 Tensor Parameter::*member) {
    const bool is_scale = name.starts_with("scale");
    const Place place =
        is_scale ? Place{fmt::format("regions.{}.scale", name.substr(5))} : place_of(name, config_);
    const Parameter* parameter = model.parameters().find(place.parameter);
    INFO(name << " is " << place.parameter);
    REQUIRE(parameter != nullptr);
    const std::vector<std::int64_t> dims = facts.at("shape");
    const std::int64_t count = Shape(dims).numel();
    return (parameter->*member)
        .reshape({parameter->shape.numel()})
        .slice(place.offset, place.offset + count);
  }

  void check_slots() {
    const std::int64_t seq_len = config_.at("seq");
    const Slots slots = training_slots(regions_of(config_), seq_len);
    REQUIRE(slots.size() == config_.at("slots").get<std::int64_t>());
    const auto pool = values_of(golden_.array("pool_matrix"));
    const auto condition = values_of(golden_.array("cond_matrix"));
    for (std::int64_t t = 0; t < seq_len; ++t) {
      for (std::int64_t c = 0; c < slots.size(); ++c) {
        const auto at = static_cast<std::size_t>(c);
        const auto holds = [t](const PositionRange& range) {
          return range.begin <= t && t < range.end;
        };
        const auto size = static_cast<double>(slots.pools[at].size());
        CHECK(pool[static_cast<std::size_t>(c * seq_len + t)] ==
              Approx(holds(slots.pools[at]) ? 1 / size : 0));
        CHECK(condition[static_cast<std::size_t>(t * slots.size() + c)] ==
              (holds(slots.conditions[at]) ? 1 : 0));
      }
    }
  }

  // The parts, as a region alone would use them.
  void check_regions() {
    const auto model = make(regions_of(config_));
    const Slots slots = training_slots(model->config(), config_.at("seq"));
    const auto count = static_cast<std::int64_t>(model->regions().size());
    const Tensor canvas = model->parts().embed(ctx_, tokens_, 0);
    const Tensor initial = model->initial_state(ctx_, canvas, slots);
    check("x_static", canvas);
    check("logits", model->logits(ctx_, tokens_, slots));

    const Tensor states = ctx_.empty(initial.shape().with_first(count + 1), dtype_);
    const Tensor features = ctx_.empty(canvas.shape().with_first(count), dtype_);
    const std::int64_t width = initial.numel() / initial.dim(0);
    const Tensor pullbacks = ctx_.empty({count, initial.dim(0), width, width}, dtype_);
    copy(states.slice(0, 1), initial);
    Tensor state = initial;
    for (std::int64_t k = 0; k < count; ++k) {
      const Region& region = model->regions()[static_cast<std::size_t>(k)];
      copy(features.slice(k, k + 1), region.features(ctx_, canvas, state, slots));
      RegionPass pass(region, slots, ResidualPlan{});
      state = pass.forward(ctx_, canvas, state, RegionPass::Output::kState);
      copy(states.slice(k + 1, k + 2), state);
      copy(pullbacks.slice(k, k + 1), pass.pullback(ctx_, /*columns=*/0));
    }
    check("states", states);
    check("x_out", features);
    check("pullback", pullbacks);
    for (const auto& [method, name] : EnumNames<SuffixMethod>::kNames) {
      INFO(name);
      check("suffix", suffix_products(ctx_, pullbacks.slice(0, count - 1), method));
    }
    check_adjoints(*model, slots, canvas, states);
  }

  // From the golden seed g_(K-1): every region by itself with its adjoint.
  void check_adjoints(LbiModel& model, const Slots& slots, const Tensor& canvas,
                      const Tensor& states) {
    const auto count = static_cast<std::int64_t>(model.regions().size());
    const Shape state_shape = states.slice(0, 1).reshape(states.shape().without_first()).shape();
    const auto cast_array = [&](const std::string& name) {
      const Tensor golden = golden_.array(name);
      const Tensor out = ctx_.empty(golden.shape(), dtype_);
      cast(out, golden);
      return out;
    };
    const Tensor golden_adjoints = cast_array("adjoint");
    const Tensor adjoints = ctx_.empty(golden_adjoints.shape(), dtype_);
    const Tensor canvas_grad = ctx_.empty(canvas.shape().with_first(count + 1), dtype_);
    model.parameters().begin_gradients();
    for (std::int64_t k = 0; k < count; ++k) {
      RegionPass pass(model.regions()[static_cast<std::size_t>(k)], slots, ResidualPlan{});
      const Tensor state = states.slice(k, k + 1).reshape(state_shape);
      const bool is_last = k + 1 == count;
      pass.forward(ctx_, canvas, state,
                   is_last ? RegionPass::Output::kFeatures : RegionPass::Output::kState);
      const Tensor doutput = is_last ? cast_array("dx_out_last")
                                     : golden_adjoints.slice(k + 1, k + 2).reshape(state_shape);
      const Tensor adjoint = pass.adjoint(ctx_, doutput);
      const RegionPass::Cotangents local = pass.backward(ctx_, doutput);
      CHECK(values_of(adjoint) == values_of(local.state));
      copy(adjoints.slice(k, k + 1), adjoint);
      copy(canvas_grad.slice(k + 1, k + 2), local.canvas);
    }
    Tape tape;
    const Context::Recording recording(ctx_, &tape);
    const Tensor leaf = tape.watch(canvas);
    const Tensor initial = model.initial_state(ctx_, leaf, slots);
    const Tensor seed = adjoints.slice(0, 1);
    copy(canvas_grad.slice(0, 1),
         tape.vjp(ctx_, std::span(&initial, 1), std::span(&seed, 1), std::span(&leaf, 1))[0]);
    check("adjoint", adjoints);
    check("canvas_grad", canvas_grad);
  }

  void check_gradients(const RegionsConfig& regions, const std::string& how) {
    INFO(how);
    const auto model = make(regions);
    Tape tape;
    const Context::Recording recording(ctx_, &tape);
    model->parameters().begin_gradients();
    const Tensor loss = model->loss(ctx_, tokens_, targets_);
    check("loss", loss);
    tape.backward(ctx_, loss);
    model->parameters().finish_gradients();
    for_each_golden([&](const std::string& name, const nlohmann::json& facts) {
      const std::int64_t offset = facts.at("offset");
      const Tensor got = part_of(*model, name, facts, &Parameter::grad);
      const Tensor expected = golden_.array("grads").slice(offset, offset + got.numel());
      errors_.check(fmt::format("{} {} {} grads", golden_.name(), dtype_name(dtype_), how), got,
                    expected, tolerance_);
    });
    CHECK(model->last_backward().adjoint_rms < tolerance_);
  }

  const GoldenCase& golden_;
  const nlohmann::json& config_;
  DType dtype_;
  double tolerance_;
  test::GoldenErrors& errors_;
  Context ctx_;
  Tensor tokens_;
  Tensor targets_;
};

TEST_CASE("models of regions agree with the golden vectors", "[models][golden][lbi]") {
  test::GoldenErrors errors("lbi");
  for (const GoldenCase& golden : test::golden_cases("lbi")) {
    INFO(golden.name());
    LbiGolden(golden, DType::kF64, errors).check();
    LbiGolden(golden, DType::kF32, errors).check();
  }
}

}  // namespace
}  // namespace ghost
