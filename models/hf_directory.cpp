#include "models/hf_directory.h"

#include "engine/io/file.h"
#include "engine/tensor/primitives.h"

namespace ghost {

void read_vocabulary(const SafetensorsFile& file, const TensorView& stored, const Tensor& value,
                     std::int64_t vocab_size) {
  const bool is_padded = !stored.shape.empty() && stored.shape[0] == value.dim(0);
  if (!is_padded) {
    fill_zero(value);
  }
  read_tensor(file, stored, is_padded ? value : value.slice(0, vocab_size));
}

void write_hf_directory(const std::filesystem::path& directory,
                        const std::vector<NamedTensor>& tensors,
                        const nlohmann::ordered_json& config) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  GHOST_CHECK(!error, "{}: cannot create the directory: {}", directory.string(), error.message());
  write_tensors(directory / "model.safetensors", tensors);
  write_file_atomically(directory / "config.json", config.dump(2) + "\n");
}

}  // namespace ghost
