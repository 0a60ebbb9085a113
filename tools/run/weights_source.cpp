#include "tools/run/weights_source.h"

#include "engine/io/checkpoint.h"
#include "models/gpt/hf_weights.h"
#include "tools/run/run_directory.h"

namespace ghost {

namespace fs = std::filesystem;

void load_weights(const fs::path& source, LanguageModel& model) {
  const bool is_file = source.extension() == ".safetensors";
  if (is_file || fs::exists(source / "model.safetensors")) {
    if (!is_file && fs::exists(source / "trainer.json")) {
      load_model(source, model.architecture(), named_values(model.parameters()));
      return;
    }
    auto* gpt = dynamic_cast<Gpt*>(&model);
    GHOST_CHECK(gpt != nullptr, "{}: Hugging Face GPT-2 weights do not fit a {}", source.string(),
                model.architecture());
    import_gpt2_weights(SafetensorsFile(is_file ? source : source / "model.safetensors"), *gpt);
    return;
  }
  load_model(find_checkpoint(source, "last"), model.architecture(),
             named_values(model.parameters()));
}

}  // namespace ghost
