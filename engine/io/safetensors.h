#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/file.h"

namespace ghost {

/// A named tensor in somebody else's memory: row-major, little-endian.
struct TensorView {
  std::string name;
  std::string dtype;                 // as safetensors spells it: F32, BF16, I64, ...
  std::vector<std::int64_t> shape;   // empty for a scalar
  std::span<const std::byte> bytes;  // product of shape times the item size
};

/// Bytes per element of a safetensors dtype name; nothing when the name is unknown.
std::optional<std::int64_t> safetensors_item_size(std::string_view dtype);

/// Free text in the header, string to string.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Writes a safetensors file and returns its SHA-256 in hex.
///
/// The data is streamed from the views, larger items first and then by name, as the reference
/// writer orders them. The file appears complete and synced, or not at all (AtomicFile).
/// `__metadata__` always contains format = pt, which Hugging Face loaders look for. Throws
/// ghost::Error for an unknown dtype, a size that is not the shape's, or a name used twice.
std::string write_safetensors(const std::filesystem::path& path,
                              std::span<const TensorView> tensors,
                              const SafetensorsMetadata& metadata = {});

/// A memory-mapped safetensors file, checked whole when opened: header, dtypes, sizes, and that the
/// tensors cover the data without holes or overlaps. Each defect is a ghost::Error that names the
/// file and the tensor.
/// source  huggingface/safetensors, format of the reference reader
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }

  /// In file order. The bytes live as long as this object; they need not be aligned to the dtype.
  const std::vector<TensorView>& tensors() const { return tensors_; }

  /// The tensor of that name, or null.
  const TensorView* find(std::string_view name) const;

  const SafetensorsMetadata& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  SafetensorsMetadata metadata_;
};

}  // namespace ghost
