#include "models/model_config.h"

#include "engine/config/config_tree.h"
#include "engine/config/fields.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

struct File {
  ModelConfig model;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("model", model, "");
  }
  void choose_fields(const ConfigNode& root) {
    if (const ConfigNode* section = root.find("model")) {
      model.choose_fields(*section);
    }
  }
};

ModelConfig read(const std::string& model) {
  return read_config<File>(parse_config("model: {" + model + "}", "a.yaml")).model;
}

TEST_CASE("each type of model has its own keys", "[models]") {
  CHECK(read("heads: 3").gpt.heads == 3);
  CHECK(read("type: mamba2, mamba2: {state: 64}").hybrid.mamba2.state == 64);
  CHECK(read("mamba3: {mimo_rank: 4}, type: mamba3").hybrid.mamba3.mimo_rank == 4);
  const ModelConfig hybrid =
      read("type: hybrid, layer_types: 2*mamba2 + attention, layers: 5, attention: {kv_heads: 4}");
  CHECK(hybrid.as_hybrid().layer_types.at(4) == LayerType::kMamba2);
  CHECK(hybrid.as_hybrid().layer_types.at(2) == LayerType::kAttention);
  CHECK(hybrid.hybrid.attention.kv_heads == 4);
  CHECK(read("type: mamba3").as_hybrid().layer_types.pattern == std::vector{LayerType::kMamba3});
}

TEST_CASE("keys of another type of model are unknown", "[models]") {
  CHECK_THROWS_WITH(read("type: mamba2, heads: 4"),
                    test::contains_text("a.yaml:1: unknown key model.heads"));
  CHECK_THROWS_WITH(read("type: mamba2, layer_types: mamba2"),
                    test::contains_text("a.yaml:1: unknown key model.layer_types"));
  CHECK_THROWS_WITH(read("mamba2: {state: 64}"),
                    test::contains_text("a.yaml:1: unknown key model.mamba2"));
  CHECK_THROWS_WITH(read("type: mamba4"),
                    "a.yaml:1: model.type is \"mamba4\"; expected one of gpt, mamba2, mamba3, "
                    "hybrid, mlp, cnn, pinn");
}

TEST_CASE("a written model reads back", "[models]") {
  const ModelConfig config = read("type: hybrid, layer_types: 3*mamba3 + attention, layers: 8");
  const std::string text = write_config(File{config});
  CHECK(text.find("3*mamba3 + attention") != std::string::npos);
  const File again = read_config<File>(parse_config(text, "b.yaml"));
  CHECK(write_config(again) == text);
  CHECK(again.model.hybrid.layer_types == config.hybrid.layer_types);
}

TEST_CASE("sizes of mixers that do not fit are named", "[models]") {
  const auto refused = [](const std::string& model, const std::string& message) {
    INFO(model);
    CHECK_THROWS_WITH(read(model), "a.yaml:1: model." + message);
  };
  refused("type: mamba2, layers: 0", "layers is 0; expected a positive integer");
  refused("type: mamba2, channels: 0", "channels is 0; expected a positive integer");
  refused("type: mamba2, vocab_size: -1", "vocab_size is -1; expected a positive integer, or 0");
  refused("type: mamba2, pad_vocab_to: 0", "pad_vocab_to is 0; expected a positive integer");
  refused("type: mamba2, norm_eps: 0", "norm_eps is 0; expected a positive number");
  refused("type: mamba2, embedding_std: 0", "embedding_std is 0; expected a positive number");
  const auto mamba2 = [&](const std::string& keys, const std::string& message) {
    refused("type: mamba2, channels: 96, mamba2: {" + keys + "}", "mamba2." + message);
  };
  mamba2("state: 0", "state is 0; expected a positive integer");
  mamba2("head_dim: 0", "head_dim is 0; expected a positive integer");
  mamba2("head_dim: 40", "head_dim is 40; expected a divisor of the inner width 192");
  mamba2("expand: 0", "expand is 0; expected a positive integer");
  mamba2("groups: 0", "groups is 0; expected a positive integer");
  mamba2("groups: 2", "groups is 2; expected a divisor of the 3 heads");
  mamba2("conv: 1", "conv is 1; expected at least 2");
  mamba2("chunk: 0", "chunk is 0; expected a positive integer");
  mamba2("norm_group: -1", "norm_group is -1; expected a positive integer, or 0");
  mamba2("norm_group: 100", "norm_group is 100; expected a divisor of the inner width 192");
  mamba2("dt_min: 0", "dt_min is 0; expected at least 0.0001");
  mamba2("dt_max: 0.0001", "dt_max is 0.0001; expected at least 0.001");
  mamba2("dt_limit: [2, 1]",
         "dt_limit is \"[2, 1]\"; expected [] or two numbers with 0 <= least <= largest");
  mamba2("mlp: -1", "mlp is -1; expected a positive integer, or 0");
  const auto mamba3 = [&](const std::string& keys, const std::string& message) {
    refused("type: mamba3, channels: 96, mamba3: {" + keys + "}", "mamba3." + message);
  };
  mamba3("head_dim: 40", "head_dim is 40; expected a divisor of the inner width 192");
  mamba3("groups: 2", "groups is 2; expected a divisor of the 3 heads");
  mamba3("mimo_rank: 0", "mimo_rank is 0; expected a positive integer");
  mamba3("mimo_rank: 2, state: 5",
         "state is 5; expected an even number where mimo_rank is above 1, as halves of it turn "
         "together");
  mamba3("state: 3", "state is 3; expected a state with a pair that turns at rope_fraction 0.5");
  mamba3("chunk: -1", "chunk is -1; expected a positive integer, or 0");
  mamba3("rope_fraction: 0.7", "rope_fraction is 0.7; expected 0.5 or 1");
  mamba3("a_activation: relu", "a_activation is \"relu\"; expected one of softplus, heavy_tail");
  mamba3("a_floor: -1", "a_floor is -1; expected zero or a positive number");
  const auto attention = [&](const std::string& keys, const std::string& message) {
    refused("type: hybrid, layer_types: attention, channels: 96, attention: {" + keys + "}",
            "attention." + message);
  };
  attention("heads: 0", "heads is 0; expected a positive integer");
  attention("heads: 5", "heads is 5; expected a divisor of channels 96 where head_dim is 0");
  attention("kv_heads: 5", "kv_heads is 5; expected a divisor of heads 12, or 0");
  attention("head_dim: -1", "head_dim is -1; expected a positive integer, or 0");
  attention("conv: 1", "conv is 1; expected at least 2, or 0");
  attention("rope_base: 0", "rope_base is 0; expected a positive number");
  attention("rope_fraction: 2", "rope_fraction is 2; expected 0 to 1");
  attention("heads: 32", "rope_fraction is 1; expected an even number of the 3 channels of a head");
  attention("mlp: -1", "mlp is -1; expected a positive integer, or 0");
}

TEST_CASE("a section of regions cuts any language model into them", "[models]") {
  CHECK_FALSE(read("type: mamba3").regions.has_value());
  for (const char* name : {"gpt", "mamba2", "mamba3", "hybrid"}) {
    const ModelConfig config = read(fmt::format(
        "type: {}, layers: 4, vocab_size: 50, regions: {{state_dim: 16, backward: scan}}", name));
    REQUIRE(config.regions.has_value());
    CHECK(config.regions->state_dim == 16);
    CHECK(make_model(config, 0)->architecture() == fmt::format("lbi-{}", name));
    const std::string text = write_config(File{config});
    const File again = read_config<File>(parse_config(text, "b.yaml"));
    CHECK(write_config(again) == text);
    CHECK(again.model.regions->backward == RegionsBackward::kScan);
  }
}

TEST_CASE("regions that do not fit are named", "[models]") {
  const auto refused = [](const std::string& keys, const std::string& message) {
    INFO(keys);
    CHECK_THROWS_WITH(read("layers: 4, regions: {" + keys + "}"),
                      "a.yaml:1: model.regions." + message);
  };
  refused("layers_per_region: 0", "layers_per_region is 0; expected a positive integer");
  refused("layers_per_region: 5",
          "layers_per_region is 5; expected at most the 4 layers of the model");
  refused("state_dim: 0", "state_dim is 0; expected at least 2, as the state is normalized");
  refused("hidden: -1", "hidden is -1; expected a positive integer, or 0");
  refused("variant: prefix_lm", "prefix is 0; expected a positive integer for prefix_lm");
  refused("variant: anchor", "anchor is 0; expected a positive integer for anchor");
  refused("variant: chunked",
          "chunk is 0; expected a positive integer for chunked and multi_anchor");
  refused("serial_regions: -1", "serial_regions is -1; expected at least 0");
  refused("columns: -1", "columns is -1; expected a positive integer, or 0");
  refused("noise: -1", "noise is -1; expected at least 0");
  CHECK_THROWS_WITH(read("type: mamba3, residual_in_f32: true, regions: {}"),
                    "a.yaml:1: model.residual_in_f32 is true; expected false where the model has "
                    "regions");
  CHECK_THROWS_WITH(read("regions: {depth: 2}"),
                    test::contains_text("a.yaml:1: unknown key model.regions.depth"));
}

// S = half of the largest even number of channels that rope_fraction allows.
TEST_CASE("angles come in pairs of channels", "[models]") {
  CHECK(Mamba3Config{.state = 128}.angles() == 32);
  CHECK(Mamba3Config{.state = 10}.angles() == 2);
  CHECK(Mamba3Config{.state = 10, .rope_fraction = 1}.angles() == 5);
  CHECK(Mamba3Config{.state = 12}.angles() == 3);
}

TEST_CASE("a model holds the vocabulary of the data", "[models]") {
  ModelConfig config{.type = ModelType::kMamba2};
  config.hybrid = {.layers = 1, .channels = 64, .pad_vocab_to = 16};
  CHECK(make_model(config, 50)->padded_vocab_size() == 64);
  CHECK(make_model(config, 50)->architecture() == "mamba2");
  config.hybrid.vocab_size = 40;
  CHECK_THROWS_WITH(make_model(config, 50),
                    "model.vocab_size is 40; the tokenizer of the data has 50 tokens");
}

}  // namespace
}  // namespace ghost
