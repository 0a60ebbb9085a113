#include "models/hybrid/hf_mamba2.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/tensor/primitives.h"
#include "models/hf_directory.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kEmbedding = "backbone.embedding.weight";
constexpr std::string_view kTheirEmbedding = "backbone.embeddings.weight";
constexpr std::int64_t kMlpMultiple = 128;  // mamba_ssm rounds the width of its MLPs up to it

/// A step limit without an upper end stands there as Infinity, which JSON does not have.
json read_config_json(const fs::path& path) {
  constexpr std::string_view kInfinity = "Infinity";
  std::string text = read_file(path);
  for (std::size_t at = text.find(kInfinity); at != std::string::npos; at = text.find(kInfinity)) {
    text.replace(at, kInfinity.size(), "null");
  }
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

bool is_mamba_ssm(const json& config) {
  return config.is_object() && config.contains("ssm_cfg") &&
         config["ssm_cfg"].value("layer", "Mamba1") == "Mamba2";
}

bool is_hugging_face(const json& config) {
  return config.is_object() && config.value("model_type", "") == "mamba2";
}

/// What every key must be where this model has no choice.
void check_fixed(const json& config, const fs::path& path, const json& expected) {
  for (const auto& [key, value] : expected.items()) {
    if (config.contains(key) && config[key] != value) {
      fail<ConfigError>("{}: {} is {}; expected {}", path.string(), key, config[key].dump(),
                        value.dump());
    }
  }
}

HybridConfig from_hugging_face(const json& config, const fs::path& path) {
  check_fixed(
      config, path,
      {{"use_bias", false}, {"use_conv_bias", true}, {"hidden_act", "silu"}, {"rms_norm", true}});
  HybridConfig out{.layers = config.at("num_hidden_layers"),
                   .channels = config.at("hidden_size"),
                   .vocab_size = config.at("vocab_size"),
                   .pad_vocab_to = 1,
                   .tied_head = config.value("tie_word_embeddings", false),
                   .norm_eps = config.value("layer_norm_epsilon", 1e-5)};
  out.mamba2 = {.state = config.at("state_size"),
                .head_dim = config.at("head_dim"),
                .expand = config.at("expand"),
                .groups = config.at("n_groups"),
                .conv = config.value("conv_kernel", std::int64_t{4}),
                .chunk = config.value("chunk_size", std::int64_t{256})};
  const std::int64_t heads = config.at("num_heads");
  if (heads * out.mamba2.head_dim != out.mamba2.inner(out.channels)) {
    fail<ConfigError>("{}: num_heads is {}; expected expand * hidden_size / head_dim, {}",
                      path.string(), heads, out.mamba2.inner(out.channels) / out.mamba2.head_dim);
  }
  const json limit = config.value("time_step_limit", json::array());
  if (limit.is_array() && limit.size() == 2 && limit[1].is_number()) {
    out.mamba2.dt_limit = {limit[0], limit[1]};
  }
  return out;
}

HybridConfig from_mamba_ssm(const json& config, const fs::path& path) {
  check_fixed(config, path, {{"attn_layer_idx", json::array()}, {"rms_norm", true}});
  const json& ssm = config.at("ssm_cfg");
  check_fixed(ssm, path,
              {{"rmsnorm", true},
               {"bias", false},
               {"conv_bias", true},
               {"D_has_hdim", false},
               {"norm_before_gate", false}});
  HybridConfig out{.layers = config.at("n_layer"),
                   .channels = config.at("d_model"),
                   .vocab_size = config.at("vocab_size"),
                   .pad_vocab_to = config.value("pad_vocab_size_multiple", std::int64_t{8}),
                   .tied_head = config.value("tie_embeddings", true)};
  out.mamba2 = {.state = ssm.value("d_state", std::int64_t{128}),
                .head_dim = ssm.value("headdim", std::int64_t{64}),
                .expand = ssm.value("expand", std::int64_t{2}),
                .groups = ssm.value("ngroups", std::int64_t{1}),
                .conv = ssm.value("d_conv", std::int64_t{4}),
                .chunk = ssm.value("chunk_size", std::int64_t{256}),
                .mlp = (config.value("d_intermediate", std::int64_t{0}) + kMlpMultiple - 1) /
                       kMlpMultiple * kMlpMultiple};
  return out;
}

const TensorView& stored_tensor(const SafetensorsFile& file, std::string_view name) {
  const TensorView* stored = file.find(name);
  if (stored == nullptr && name == kEmbedding) {
    stored = file.find(kTheirEmbedding);
  }
  GHOST_CHECK(stored != nullptr, "{}: tensor {} is missing{}", file.path().string(), name,
              name == kEmbedding ? fmt::format(" (also looked for {})", kTheirEmbedding) : "");
  return *stored;
}

/// mamba_ssm's MLP has up | gate, ours gate | up.
void read_swapped_halves(const SafetensorsFile& file, const TensorView& stored,
                         const Tensor& value) {
  const Tensor theirs(make_allocator(Device{}), value.shape(), value.dtype(),
                      MemoryTag::kWorkspace);
  read_tensor(file, stored, theirs);
  const std::int64_t rows = value.dim(0);
  copy(value.slice(0, rows / 2), theirs.slice(rows / 2, rows));
  copy(value.slice(rows / 2, rows), theirs.slice(0, rows / 2));
}

bool has_vocabulary(std::string_view name) {
  return name == kEmbedding || name == "lm_head.weight";
}

void check_exportable(const HybridConfig& config) {
  const auto& pattern = config.layer_types.pattern;
  const bool is_pure = std::all_of(pattern.begin(), pattern.end(),
                                   [](LayerType type) { return type == LayerType::kMamba2; });
  const Mamba2Config& mixer = config.mamba2;
  if (!is_pure || mixer.mlp > 0 || mixer.norm_before_gate || mixer.norm_group > 0) {
    fail<ConfigError>(
        "a model with other layers than Mamba-2, an MLP, or another gated norm than mamba_ssm's "
        "has "
        "no Mamba2ForCausalLM form");
  }
}

}  // namespace

bool is_mamba2_config(const fs::path& config_json) {
  const json config = read_config_json(config_json);
  return is_hugging_face(config) || is_mamba_ssm(config);
}

HybridConfig read_mamba2_config(const fs::path& config_json) {
  const json config = read_config_json(config_json);
  if (!is_hugging_face(config) && !is_mamba_ssm(config)) {
    fail<ConfigError>(
        "{}: not the config of a Mamba-2; expected an object with model_type mamba2, or "
        "mamba_ssm's",
        config_json.string());
  }
  try {
    HybridConfig out = is_hugging_face(config) ? from_hugging_face(config, config_json)
                                               : from_mamba_ssm(config, config_json);
    const std::string prefix = config_json.string() + ": ";
    out.mamba2.validate(prefix);
    out.validate(prefix);
    return out;
  } catch (const json::exception& failure) {
    fail<ConfigError>("{}: {}", config_json.string(), failure.what());
  }
}

void import_mamba2_weights(const SafetensorsFile& file, Hybrid& model) {
  for (const auto& parameter : model.parameters().all()) {
    const TensorView& stored = stored_tensor(file, parameter->name);
    if (has_vocabulary(parameter->name)) {
      read_vocabulary(file, stored, parameter->value, model.vocab_size());
    } else if (parameter->name.ends_with(".mlp.fc1.weight")) {
      read_swapped_halves(file, stored, parameter->value);
    } else {
      read_tensor(file, stored, parameter->value);
    }
  }
}

void export_mamba2(const Hybrid& model, const fs::path& directory) {
  const HybridConfig& config = model.config();
  check_exportable(config);
  std::vector<NamedTensor> tensors;
  for (const auto& parameter : static_cast<const LanguageModel&>(model).parameters().all()) {
    tensors.push_back(
        {parameter->name == kEmbedding ? std::string(kTheirEmbedding) : parameter->name,
         has_vocabulary(parameter->name) ? parameter->value.slice(0, config.vocab_size)
                                         : parameter->value});
  }
  const Mamba2Config& mixer = config.mamba2;
  nlohmann::ordered_json facts = {
      {"architectures", {"Mamba2ForCausalLM"}},
      {"model_type", "mamba2"},
      {"num_hidden_layers", config.layers},
      {"hidden_size", config.channels},
      {"vocab_size", config.vocab_size},
      {"num_heads", mixer.inner(config.channels) / mixer.head_dim},
      {"head_dim", mixer.head_dim},
      {"state_size", mixer.state},
      {"n_groups", mixer.groups},
      {"expand", mixer.expand},
      {"conv_kernel", mixer.conv},
      {"chunk_size", mixer.chunk},
      {"layer_norm_epsilon", config.norm_eps},
      {"use_bias", false},
      {"use_conv_bias", true},
      {"hidden_act", "silu"},
      {"rms_norm", true},
      {"residual_in_fp32", true},
      {"tie_word_embeddings", config.tied_head},
      // Their defaults are tokens of another vocabulary.
      {"pad_token_id", nullptr},
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
      {"torch_dtype", "float32"},
  };
  if (!mixer.dt_limit.empty()) {
    facts["time_step_limit"] = mixer.dt_limit;
  }
  write_hf_directory(directory, tensors, facts);
}

}  // namespace ghost
