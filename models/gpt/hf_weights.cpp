#include "models/gpt/hf_weights.h"

#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/hf_directory.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kPrefix = "transformer.";

/// The projections that Hugging Face stores as Conv1D, [in, out].
bool is_conv1d(std::string_view name) {
  for (const std::string_view suffix :
       {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"}) {
    if (name.ends_with(suffix)) {
      return true;
    }
  }
  return false;
}

/// On the host.
Tensor transposed(const Tensor& of_any_device) {
  const Tensor x = on_host(of_any_device);
  const std::int64_t rows = x.dim(0);
  const std::int64_t cols = x.dim(1);
  Tensor out(x.storage()->shared_allocator(), {cols, rows}, x.dtype(), MemoryTag::kWorkspace);
  visit_real(x.dtype(), [&]<typename T>() {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        out.data<T>()[c * rows + r] = x.data<T>()[r * cols + c];
      }
    }
  });
  return out;
}

const TensorView& stored_tensor(const SafetensorsFile& file, std::string_view name) {
  const TensorView* stored = file.find(name);
  if (stored == nullptr && name.starts_with(kPrefix)) {
    stored = file.find(name.substr(kPrefix.size()));
  }
  GHOST_CHECK(stored != nullptr, "{}: tensor {} is missing (also looked for without {})",
              file.path().string(), name, kPrefix);
  return *stored;
}

bool is_embedding(std::string_view name) {
  return name.ends_with("wte.weight") || name == "lm_head.weight";
}

}  // namespace

GptConfig read_gpt2_config(const fs::path& config_json) {
  const json config = json::parse(read_file(config_json), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || config.value("model_type", "") != "gpt2") {
    fail<ConfigError>("{}: not the config of a GPT-2; expected an object with model_type gpt2",
                      config_json.string());
  }
  try {
    const std::string activation = config.value("activation_function", "gelu_new");
    if (activation != "gelu_new" && activation != "gelu" && activation != "gelu_pytorch_tanh") {
      fail<ConfigError>("{}: activation_function is \"{}\"; expected gelu_new or gelu",
                        config_json.string(), activation);
    }
    const std::int64_t channels = config.at("n_embd");
    const bool has_own_width = config.contains("n_inner") && !config["n_inner"].is_null() &&
                               config["n_inner"] != 4 * channels;
    if (has_own_width || config.value("scale_attn_by_inverse_layer_idx", false) ||
        !config.value("scale_attn_weights", true)) {
      fail<ConfigError>(
          "{}: n_inner, scale_attn_by_inverse_layer_idx or scale_attn_weights is not GPT-2's; "
          "expected null, false and true",
          config_json.string());
    }
    GptConfig out{.layers = config.at("n_layer"),
                  .heads = config.at("n_head"),
                  .channels = channels,
                  .max_seq_len = config.contains("n_positions") ? config.at("n_positions")
                                                                : config.at("n_ctx"),
                  .vocab_size = config.at("vocab_size"),
                  .tied_head = config.value("tie_word_embeddings", true),
                  .gelu = activation == "gelu" ? GeluForm::kErf : GeluForm::kTanh,
                  .norm_eps = config.value("layer_norm_epsilon", 1e-5)};
    out.validate(config_json.string() + ": ");
    return out;
  } catch (const json::exception& failure) {
    fail<ConfigError>("{}: {}", config_json.string(), failure.what());
  }
}

void import_gpt2_weights(const SafetensorsFile& file, Gpt& model) {
  for (const auto& parameter : model.parameters().all()) {
    const TensorView& stored = stored_tensor(file, parameter->name);
    if (is_conv1d(parameter->name)) {
      Tensor in_out(make_allocator(Device{}), {parameter->shape[1], parameter->shape[0]},
                    parameter->value.dtype(), MemoryTag::kWorkspace);
      read_tensor(file, stored, in_out);
      copy(parameter->value, transposed(in_out));
    } else if (is_embedding(parameter->name)) {
      read_vocabulary(file, stored, parameter->value, model.vocab_size());
    } else {
      read_tensor(file, stored, parameter->value);
    }
  }
}

void export_gpt2(const Gpt& model, const fs::path& directory) {
  const GptConfig& config = model.config();
  std::vector<NamedTensor> tensors;
  for (const auto& parameter : static_cast<const LanguageModel&>(model).parameters().all()) {
    Tensor value = parameter->value;
    if (is_conv1d(parameter->name)) {
      value = transposed(value);
    } else if (is_embedding(parameter->name)) {
      value = value.slice(0, config.vocab_size);
    }
    tensors.push_back({parameter->name, value});
    const bool has_bias_in_gpt2 = parameter->name.starts_with("transformer.h.") ||
                                  parameter->name == "transformer.ln_f.weight";
    if (!config.bias && has_bias_in_gpt2) {
      const std::string name = parameter->name.substr(0, parameter->name.rfind('.')) + ".bias";
      Tensor zeros(value.storage()->shared_allocator(), {parameter->shape[0]}, value.dtype(),
                   MemoryTag::kWorkspace);
      fill_zero(zeros);
      tensors.push_back({name, zeros});
    }
  }
  // Their defaults are ids of GPT-2's own vocabulary.
  constexpr std::int64_t kEndOfText = 50256;
  const json mark = config.vocab_size > kEndOfText ? json(kEndOfText) : json(nullptr);
  const nlohmann::ordered_json facts = {
      {"architectures", {"GPT2LMHeadModel"}},
      {"model_type", "gpt2"},
      {"n_layer", config.layers},
      {"n_head", config.heads},
      {"n_embd", config.channels},
      {"n_positions", config.max_seq_len},
      {"n_ctx", config.max_seq_len},
      {"vocab_size", config.vocab_size},
      {"bos_token_id", mark},
      {"eos_token_id", mark},
      {"layer_norm_epsilon", config.norm_eps},
      {"activation_function", config.gelu == GeluForm::kErf ? "gelu" : "gelu_new"},
      {"tie_word_embeddings", config.tied_head},
      {"resid_pdrop", config.dropout},
      {"embd_pdrop", config.dropout},
      {"attn_pdrop", 0.0},
      {"torch_dtype", "float32"},
  };
  write_hf_directory(directory, tensors, facts);
}

}  // namespace ghost
