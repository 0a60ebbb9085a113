#include "models/hybrid/hf_mamba2.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "engine/autograd/context.h"
#include "engine/io/file.h"
#include "engine/io/weights.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::values_of;
using TestDir = test::TemporaryDirectory;

HybridConfig tiny() {
  HybridConfig config{.layers = 2, .channels = 8, .vocab_size = 11, .pad_vocab_to = 8};
  config.mamba2 = {.state = 3, .head_dim = 4, .groups = 2, .conv = 3, .chunk = 16};
  return config;
}

struct Model {
  explicit Model(const HybridConfig& config, std::uint64_t seed = 0)
      : ctx(Device{}), hybrid(config, "mamba2") {
    hybrid.parameters().materialize(ctx.allocator(), DType::kF32);
    hybrid.parameters().initialize(seed);
    float value = static_cast<float>(seed);
    for (const auto& parameter : hybrid.parameters().all()) {
      for (float& x : parameter->value.span<float>()) {
        x += (value += 0.25F) * 1e-3F;
      }
    }
  }

  Context ctx;
  Hybrid hybrid;
};

/// Rows that only pad the vocabulary do not count.
void check_same(const Model& a, const Model& b) {
  const auto& ours = static_cast<const LanguageModel&>(a.hybrid).parameters().all();
  for (const auto& parameter : ours) {
    INFO(parameter->name);
    const Parameter* found =
        static_cast<const LanguageModel&>(b.hybrid).parameters().find(parameter->name);
    REQUIRE(found != nullptr);
    const bool has_padding =
        parameter->name.find("embedding") != std::string::npos || parameter->name[0] == 'l';
    const std::int64_t rows = has_padding ? 11 : parameter->shape[0];
    CHECK(values_of(parameter->value.slice(0, rows)) == values_of(found->value.slice(0, rows)));
  }
}

TEST_CASE("an exported Mamba-2 comes back bit by bit", "[models]") {
  for (const bool tied_head : {true, false}) {
    const TestDir dir;
    HybridConfig config = tiny();
    config.tied_head = tied_head;
    config.mamba2.dt_limit = {0.01, 0.5};
    const Model out(config, /*seed=*/3);
    export_mamba2(out.hybrid, dir / "hf");
    CHECK(is_mamba2_config(dir / "hf/config.json"));
    const HybridConfig read = read_mamba2_config(dir / "hf/config.json");
    CHECK(read.layers == 2);
    CHECK(read.channels == 8);
    CHECK(read.vocab_size == 11);
    CHECK(read.tied_head == tied_head);
    CHECK(read.mamba2.state == 3);
    CHECK(read.mamba2.head_dim == 4);
    CHECK(read.mamba2.groups == 2);
    CHECK(read.mamba2.conv == 3);
    CHECK(read.mamba2.chunk == 16);
    CHECK(read.mamba2.dt_limit == std::vector{0.01, 0.5});
    const SafetensorsFile file(dir / "hf/model.safetensors");
    CHECK(file.find("backbone.embeddings.weight")->shape == std::vector<std::int64_t>{11, 8});
    CHECK(file.find("backbone.layers.1.mixer.conv1d.weight")->shape ==
          std::vector<std::int64_t>{28, 1, 3});
    CHECK((file.find("lm_head.weight") == nullptr) == tied_head);
    for (const HybridConfig& into : {read, config}) {
      Model in(into);
      import_mamba2_weights(file, in.hybrid);
      check_same(out, in);
    }
  }
}

// As mamba_ssm saves it: the embedding by another name, with its padding, and a second time as
// head.
TEST_CASE("weights of mamba_ssm are read", "[models]") {
  const TestDir dir;
  Model out(tiny(), /*seed=*/4);
  export_mamba2(out.hybrid, dir.path());
  const SafetensorsFile file(dir / "model.safetensors");
  std::vector<TensorView> tensors = file.tensors();
  const Tensor& embedding = out.hybrid.parameters().find("backbone.embedding.weight")->value;
  for (TensorView& tensor : tensors) {
    if (tensor.name == "backbone.embeddings.weight") {
      tensor.name = "backbone.embedding.weight";
      tensor.shape = {16, 8};
      tensor.bytes = std::as_bytes(embedding.span<const float>());
      TensorView head = tensor;
      head.name = "lm_head.weight";
      tensors.push_back(head);
      break;
    }
  }
  write_safetensors(dir / "ssm.safetensors", tensors);
  const auto path = dir.write(
      "ssm/config.json",
      json{{"d_model", 8},
           {"d_intermediate", 0},
           {"n_layer", 2},
           {"vocab_size", 11},
           {"ssm_cfg",
            {{"layer", "Mamba2"}, {"d_state", 3}, {"headdim", 4}, {"ngroups", 2}, {"d_conv", 3}}},
           {"attn_layer_idx", json::array()},
           {"pad_vocab_size_multiple", 16},
           {"tie_embeddings", true}}
          .dump());
  CHECK(is_mamba2_config(path));
  const HybridConfig config = read_mamba2_config(path);
  CHECK(config.padded_vocab_size() == 16);
  CHECK(config.mamba2.chunk == 256);
  Model in(config);
  import_mamba2_weights(SafetensorsFile(dir / "ssm.safetensors"), in.hybrid);
  check_same(out, in);
}

// Its MLPs are up | gate, their width a multiple of 128.
TEST_CASE("an MLP of mamba_ssm is read", "[models]") {
  const TestDir dir;
  const auto path =
      dir.write("config.json", json{{"d_model", 8},
                                    {"d_intermediate", 100},
                                    {"n_layer", 1},
                                    {"vocab_size", 11},
                                    {"ssm_cfg", {{"layer", "Mamba2"}, {"headdim", 4}}},
                                    {"attn_layer_idx", json::array()}}
                                   .dump());
  const HybridConfig config = read_mamba2_config(path);
  CHECK(config.mamba2.mlp == 128);
  const Model out(config, /*seed=*/6);
  std::vector<NamedTensor> tensors;
  for (const auto& parameter : static_cast<const LanguageModel&>(out.hybrid).parameters().all()) {
    Tensor value = parameter->value;
    if (parameter->name.ends_with("mlp.fc1.weight")) {
      value = out.ctx.empty({256, 8}, DType::kF32);
      copy(value.slice(0, 128), parameter->value.slice(128, 256));
      copy(value.slice(128, 256), parameter->value.slice(0, 128));
    }
    tensors.push_back({parameter->name, value});
  }
  write_tensors(dir / "ssm.safetensors", tensors);
  Model in(config);
  import_mamba2_weights(SafetensorsFile(dir / "ssm.safetensors"), in.hybrid);
  check_same(out, in);

  Hybrid in_f64(config, "mamba2");
  in_f64.parameters().materialize(in.ctx.allocator(), DType::kF64);
  import_mamba2_weights(SafetensorsFile(dir / "ssm.safetensors"), in_f64);
  const char* fc1 = "backbone.layers.0.mlp.fc1.weight";
  CHECK(values_of(in_f64.parameters().find(fc1)->value) ==
        values_of(in.hybrid.parameters().find(fc1)->value));
}

TEST_CASE("a config.json that is not such a Mamba-2's is refused", "[models]") {
  const TestDir dir;
  const json good = {{"model_type", "mamba2"}, {"num_hidden_layers", 2}, {"hidden_size", 8},
                     {"vocab_size", 11},       {"num_heads", 4},         {"head_dim", 4},
                     {"state_size", 3},        {"n_groups", 2},          {"expand", 2}};
  const auto message = [&](const std::string& key, const json& value) {
    json config = good;
    config[key] = value;
    const auto path = dir.write("config.json", config.dump());
    try {
      read_mamba2_config(path);
    } catch (const ConfigError& failure) {
      return std::string(failure.what()).substr(path.string().size());
    }
    return std::string("accepted");
  };
  CHECK(message("chunk_size", 64) == "accepted");
  CHECK(message("time_step_limit", {0.0, {{"__float__", "Infinity"}}}) == "accepted");
  CHECK(message("model_type", "mamba") ==
        ": not the config of a Mamba-2; expected an object with model_type mamba2, or mamba_ssm's");
  CHECK(message("num_heads", 8) == ": num_heads is 8; expected expand * hidden_size / head_dim, 4");
  CHECK(message("use_bias", true) == ": use_bias is true; expected false");
  CHECK(message("hidden_act", "gelu") == ": hidden_act is \"gelu\"; expected \"silu\"");
  CHECK(message("n_groups", 3) == ": mamba2.groups is 3; expected a divisor of the 4 heads");
  // Python writes an open end as Infinity, which is not JSON.
  std::string text = good.dump();
  text.insert(1, "\"time_step_limit\": [0.0, Infinity], ");
  CHECK(read_mamba2_config(dir.write("config.json", text)).mamba2.dt_limit.empty());
}

TEST_CASE("weights of a Mamba-2 that do not fit are named", "[models]") {
  const TestDir dir;
  Model model(tiny(), /*seed=*/5);
  export_mamba2(model.hybrid, dir.path());
  const SafetensorsFile file(dir / "model.safetensors");
  std::vector<TensorView> tensors = file.tensors();
  std::erase_if(tensors,
                [](const TensorView& t) { return t.name == "backbone.embeddings.weight"; });
  write_safetensors(dir / "less.safetensors", tensors);
  CHECK_THROWS_WITH(import_mamba2_weights(SafetensorsFile(dir / "less.safetensors"), model.hybrid),
                    (dir / "less.safetensors").string() +
                        ": tensor backbone.embedding.weight is missing (also looked for "
                        "backbone.embeddings.weight)");
  HybridConfig with_mlp = tiny();
  with_mlp.mamba2.mlp = 4;
  CHECK_THROWS_WITH(export_mamba2(Model(with_mlp).hybrid, dir / "out"),
                    "a model with other layers than Mamba-2, an MLP, or another gated norm than "
                    "mamba_ssm's has no Mamba2ForCausalLM form");
}

}  // namespace
}  // namespace ghost
