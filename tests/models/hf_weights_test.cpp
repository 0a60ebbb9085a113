#include "models/gpt/hf_weights.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include <nlohmann/json.hpp>

#include "engine/autograd/context.h"
#include "engine/io/file.h"
#include "engine/io/weights.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using Catch::Matchers::Equals;
using TestDir = test::TemporaryDirectory;

constexpr GptConfig kTiny{.layers = 2,
                          .heads = 2,
                          .channels = 4,
                          .max_seq_len = 5,
                          .vocab_size = 7,
                          .pad_vocab_to = 8,
                          .gelu = GeluForm::kTanh,
                          .norm_eps = 1e-6};

struct Model {
  explicit Model(const GptConfig& config, std::uint64_t seed = 0) : ctx(Device{}), gpt(config) {
    gpt.parameters().materialize(ctx.allocator(), DType::kF32);
    gpt.parameters().initialize(seed);
    if (seed > 0) {  // biases and gains too are to differ from element to element
      float value = static_cast<float>(seed);
      for (const auto& parameter : gpt.parameters().all()) {
        for (float& x : parameter->value.span<float>()) {
          x += (value += 0.25F) * 1e-3F;
        }
      }
    }
  }
  const Tensor& value(std::string_view name) { return gpt.parameters().find(name)->value; }

  Context ctx;
  Gpt gpt;
};

bool is_equal(const Tensor& a, const Tensor& b) {
  const auto same_bits = [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  };
  return a.shape() == b.shape() && std::equal(a.span<float>().begin(), a.span<float>().end(),
                                              b.span<float>().begin(), same_bits);
}

/// The tensors of an export, to change and write again.
struct Weights {
  explicit Weights(const std::filesystem::path& file) : stored(file) { tensors = stored.tensors(); }
  TensorView& find(std::string_view name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const TensorView& tensor) { return tensor.name == name; });
    REQUIRE(found != tensors.end());
    return *found;
  }
  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const TensorView& tensor) { return tensor.name == name; });
  }

  SafetensorsFile stored;
  std::vector<TensorView> tensors;
};

TEST_CASE("exported weights come back bit by bit", "[models]") {
  for (const bool tied_head : {true, false}) {
    const TestDir dir;
    GptConfig config = kTiny;
    config.tied_head = tied_head;
    Model out(config, /*seed=*/3);
    export_gpt2(out.gpt, dir / "hf");
    const GptConfig read = read_gpt2_config(dir / "hf/config.json");
    CHECK(read.layers == 2);
    CHECK(read.heads == 2);
    CHECK(read.channels == 4);
    CHECK(read.max_seq_len == 5);
    CHECK(read.vocab_size == 7);
    CHECK(read.tied_head == tied_head);
    CHECK(read.gelu == GeluForm::kTanh);
    CHECK(read.norm_eps == 1e-6);
    Model in(config);
    import_gpt2_weights(SafetensorsFile(dir / "hf/model.safetensors"), in.gpt);
    for (const auto& parameter : out.gpt.parameters().all()) {
      INFO(parameter->name);
      const Tensor& found = in.value(parameter->name);
      if (parameter->shape[0] == 8 && parameter->shape.rank() == 2 &&
          parameter->shape[1] == 4) {  // wte and lm_head: row 7 only pads the vocabulary
        CHECK(is_equal(found.slice(0, 7), parameter->value.slice(0, 7)));
        CHECK(found.data<float>()[7 * 4] == 0);
      } else {
        CHECK(is_equal(found, parameter->value));
      }
    }
  }
}

TEST_CASE("exported names and shapes are GPT2LMHeadModel's", "[models]") {
  const TestDir dir;
  Model model(kTiny, /*seed=*/4);
  export_gpt2(model.gpt, dir.path());
  const SafetensorsFile file(dir / "model.safetensors");
  CHECK(file.tensors().size() == 2 + 2 * 12 + 2);
  const auto facts = nlohmann::json::parse(read_file(dir / "config.json"));
  CHECK(facts.at("architectures").at(0) == "GPT2LMHeadModel");
  CHECK(facts.at("eos_token_id").is_null());  // GPT-2's 50256 is no token here
  const auto shape = [&](std::string_view name) {
    const TensorView* tensor = file.find(name);
    INFO(name);
    REQUIRE(tensor != nullptr);
    return tensor->shape;
  };
  using Dims = std::vector<std::int64_t>;
  CHECK(shape("transformer.wte.weight") == Dims{7, 4});
  CHECK(shape("transformer.wpe.weight") == Dims{5, 4});
  CHECK(shape("transformer.h.1.ln_1.weight") == Dims{4});
  CHECK(shape("transformer.h.1.attn.c_attn.weight") == Dims{4, 12});
  CHECK(shape("transformer.h.1.attn.c_attn.bias") == Dims{12});
  CHECK(shape("transformer.h.0.attn.c_proj.weight") == Dims{4, 4});
  CHECK(shape("transformer.h.0.mlp.c_fc.weight") == Dims{4, 16});
  CHECK(shape("transformer.h.0.mlp.c_proj.weight") == Dims{16, 4});
  CHECK(shape("transformer.ln_f.bias") == Dims{4});
  // [in, out]: row i, column o is our row o, column i.
  const TensorView* stored = file.find("transformer.h.0.mlp.c_fc.weight");
  const Tensor& ours = model.value("transformer.h.0.mlp.c_fc.weight");
  const auto* theirs = reinterpret_cast<const float*>(stored->bytes.data());
  for (std::int64_t in = 0; in < 4; ++in) {
    for (std::int64_t out = 0; out < 16; ++out) {
      CHECK(theirs[in * 16 + out] == ours.data<float>()[out * 4 + in]);
    }
  }
}

TEST_CASE("a model without biases is exported with zeros", "[models]") {
  const TestDir dir;
  GptConfig config = kTiny;
  config.bias = false;
  Model model(config, /*seed=*/5);
  export_gpt2(model.gpt, dir.path());
  Model with_bias(kTiny, /*seed=*/6);
  import_gpt2_weights(SafetensorsFile(dir / "model.safetensors"), with_bias.gpt);
  for (const auto& parameter : with_bias.gpt.parameters().all()) {
    const auto values = parameter->value.span<float>();
    const bool is_zero = std::all_of(values.begin(), values.end(), [](float x) { return x == 0; });
    CHECK(is_zero == parameter->name.ends_with(".bias"));
  }
}

TEST_CASE("weights without prefix and with masks are read", "[models]") {
  const TestDir dir;
  Model out(kTiny, /*seed=*/7);
  export_gpt2(out.gpt, dir.path());
  Weights weights(dir / "model.safetensors");
  for (TensorView& tensor : weights.tensors) {
    tensor.name = tensor.name.substr(std::string_view("transformer.").size());
  }
  const std::vector<std::byte> mask(5 * 5 * sizeof(float));
  weights.tensors.push_back(
      {.name = "h.0.attn.bias", .dtype = "F32", .shape = {1, 1, 5, 5}, .bytes = mask});
  write_safetensors(dir / "base.safetensors", weights.tensors);
  Model in(kTiny);
  import_gpt2_weights(SafetensorsFile(dir / "base.safetensors"), in.gpt);
  CHECK(is_equal(in.value("transformer.h.1.mlp.c_proj.weight"),
                 out.value("transformer.h.1.mlp.c_proj.weight")));
  CHECK(is_equal(in.value("transformer.h.0.attn.c_attn.bias"),
                 out.value("transformer.h.0.attn.c_attn.bias")));
}

TEST_CASE("weights that do not fit are named", "[models]") {
  const TestDir dir;
  Model model(kTiny, /*seed=*/8);
  export_gpt2(model.gpt, dir.path());
  const auto path = dir / "changed.safetensors";
  const auto import_changed = [&](const auto& change) {
    Weights weights(dir / "model.safetensors");
    change(weights);
    write_safetensors(path, weights.tensors);
    import_gpt2_weights(SafetensorsFile(path), model.gpt);
  };
  CHECK_THROWS_WITH(
      import_changed([](Weights& weights) { weights.remove("transformer.h.1.ln_2.bias"); }),
      Equals(path.string() + ": tensor transformer.h.1.ln_2.bias is missing (also looked for "
                             "without transformer.)"));
  CHECK_THROWS_WITH(
      import_changed([](Weights& weights) {
        weights.find("transformer.h.0.mlp.c_fc.weight").shape = {16, 4};
      }),
      Equals(path.string() + ": tensor transformer.h.0.mlp.c_fc.weight has shape [16,4]; expected "
                             "[4,16]"));
  CHECK_THROWS_WITH(
      import_changed([](Weights& weights) { weights.find("transformer.ln_f.bias").dtype = "I32"; }),
      Equals(path.string() + ": tensor transformer.ln_f.bias has dtype I32; expected F32, F64, F16 "
                             "or BF16"));
}

TEST_CASE("a config.json that is not a GPT-2's is refused", "[models]") {
  const TestDir dir;
  const nlohmann::json good = {{"model_type", "gpt2"}, {"n_layer", 2},     {"n_head", 2},
                               {"n_embd", 4},          {"n_positions", 5}, {"vocab_size", 7}};
  const auto message = [&](const std::string& key, const nlohmann::json& value) {
    nlohmann::json config = good;
    config[key] = value;
    const auto path = dir.write("config.json", config.dump());
    try {
      read_gpt2_config(path);
    } catch (const ConfigError& failure) {
      return std::string(failure.what()).substr(path.string().size());
    }
    return std::string("accepted");
  };
  CHECK(message("n_layer", 3) == "accepted");
  CHECK(message("n_inner", nullptr) == "accepted");
  CHECK(message("n_inner", 16) == "accepted");
  CHECK(message("model_type", "bert") ==
        ": not the config of a GPT-2; expected an object with model_type gpt2");
  CHECK(message("activation_function", "relu") ==
        ": activation_function is \"relu\"; expected gelu_new or gelu");
  CHECK(message("n_head", 3) == ": heads is 3; expected a divisor of channels 4");
  const std::string other =
      ": n_inner, scale_attn_by_inverse_layer_idx or scale_attn_weights is not GPT-2's; expected "
      "null, false and true";
  CHECK(message("n_inner", 12) == other);
  CHECK(message("scale_attn_by_inverse_layer_idx", true) == other);
  CHECK(message("scale_attn_weights", false) == other);
}

}  // namespace
}  // namespace ghost
