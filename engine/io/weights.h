#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/autograd/parameter.h"
#include "engine/io/safetensors.h"

namespace ghost {

/// A tensor under the name that files know it by.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// The values of all parameters under their names; undefined for those that are not here.
std::vector<NamedTensor> named_values(const ParameterStore& parameters);

/// Writes tensors of any device, those that are defined; otherwise as write_safetensors, and
/// returns what that returns.
std::string write_tensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                          const SafetensorsMetadata& metadata = {});

/// Fills `tensor` (f32 or f64, on any device) from a stored one of dtype F32, F64, F16 or BF16.
/// Throws ghost::Error naming `file`, the tensor, what was expected and what was found.
void read_tensor(const SafetensorsFile& file, const TensorView& stored, const Tensor& tensor);

/// Fills every tensor from the one of its name in one of the files; throws ghost::Error naming file
/// and tensor when one is missing, has another shape, or the files have tensors nobody asked for.
/// An undefined tensor has to be there and is not read.
void read_tensors(std::span<const SafetensorsFile> files, std::span<const NamedTensor> tensors);

}  // namespace ghost
