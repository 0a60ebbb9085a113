#include "tools/run/weights_source.h"

#include "engine/io/checkpoint.h"
#include "models/gpt/hf_weights.h"
#include "models/hybrid/hf_mamba2.h"
#include "tools/run/run_directory.h"

namespace ghost {

namespace fs = std::filesystem;

void load_weights(const fs::path& source, Model& model) {
  const bool is_file = source.extension() == ".safetensors";
  if (is_file || fs::exists(source / "model.safetensors")) {
    if (!is_file && fs::exists(source / "trainer.json")) {
      load_model(source, model.architecture(), named_values(model.parameters()));
      return;
    }
    const SafetensorsFile file(is_file ? source : source / "model.safetensors");
    if (auto* gpt = dynamic_cast<Gpt*>(&model)) {
      import_gpt2_weights(file, *gpt);
    } else if (auto* hybrid = dynamic_cast<Hybrid*>(&model)) {
      import_mamba2_weights(file, *hybrid);
    } else {
      fail<ConfigError>("{}: Hugging Face weights; a model of type {} reads checkpoints of runs",
                        source.string(), model.architecture());
    }
    return;
  }
  load_model(find_checkpoint(source, "last"), model.architecture(),
             named_values(model.parameters()));
}

}  // namespace ghost
