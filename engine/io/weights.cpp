#include "engine/io/weights.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

std::string_view stored_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF64:
      return "F64";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    case DType::kU16:
      return "U16";
    case DType::kU8:
      return "U8";
    case DType::kI8:
      return "I8";
  }
  return {};
}

/// IEEE half precision, exactly.
float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t fraction = bits & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 0xffU : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

template <typename Stored>
Stored element(const TensorView& stored, std::int64_t i) {
  Stored value;  // the bytes of a file need not be aligned
  std::memcpy(&value, stored.bytes.data() + static_cast<std::size_t>(i) * sizeof(Stored),
              sizeof(Stored));
  return value;
}

template <typename T>
void convert(const TensorView& stored, T* out, std::int64_t n) {
  if (stored.dtype == stored_dtype(kDTypeOf<T>)) {
    std::memcpy(out, stored.bytes.data(), stored.bytes.size());
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    if (stored.dtype == "F32") {
      out[i] = static_cast<T>(element<float>(stored, i));
    } else if (stored.dtype == "F64") {
      out[i] = static_cast<T>(element<double>(stored, i));
    } else if (stored.dtype == "F16") {
      out[i] = static_cast<T>(half_to_float(element<std::uint16_t>(stored, i)));
    } else {
      out[i] = static_cast<T>(static_cast<float>(element<BFloat16>(stored, i)));
    }
  }
}

/// "model.safetensors", or "DIR/model-00001-of-00002.safetensors and 1 more".
std::string paths_of(std::span<const SafetensorsFile> files) {
  if (files.empty()) {
    return "no file";
  }
  const std::string first = files.front().path().string();
  return files.size() == 1 ? first : fmt::format("{} and {} more", first, files.size() - 1);
}

bool is_float_name(std::string_view dtype) {
  return dtype == "F32" || dtype == "F64" || dtype == "F16" || dtype == "BF16";
}

}  // namespace

std::vector<NamedTensor> named_values(const ParameterStore& parameters) {
  std::vector<NamedTensor> out;
  for (const auto& parameter : parameters.all()) {
    out.push_back({parameter->name, parameter->value});
  }
  return out;
}

std::string write_tensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                          const SafetensorsMetadata& metadata) {
  Tensors hosts;  // live until their views are written
  std::vector<TensorView> views;
  for (const NamedTensor& named : tensors) {
    if (!named.tensor.defined()) {
      continue;
    }
    hosts.push_back(on_host(named.tensor));
    const auto dims = named.tensor.shape().dims();
    views.push_back(
        {.name = named.name,
         .dtype = std::string(stored_dtype(named.tensor.dtype())),
         .shape = {dims.begin(), dims.end()},
         .bytes = {hosts.back().raw(), static_cast<std::size_t>(named.tensor.bytes())}});
  }
  return write_safetensors(path, views, metadata);
}

void read_tensor(const SafetensorsFile& file, const TensorView& stored, const Tensor& tensor) {
  GHOST_CHECK(is_float_name(stored.dtype),
              "{}: tensor {} has dtype {}; expected F32, F64, F16 or BF16", file.path().string(),
              stored.name, stored.dtype);
  const Shape shape(stored.shape);
  GHOST_CHECK(shape == tensor.shape(), "{}: tensor {} has shape {}; expected {}",
              file.path().string(), stored.name, shape, tensor.shape());
  const Tensor place = host_place(tensor);
  visit_real(tensor.dtype(),
             [&]<typename T>() { convert(stored, place.data<T>(), tensor.numel()); });
  copy(tensor, place);
}

void read_tensors(std::span<const SafetensorsFile> files, std::span<const NamedTensor> tensors) {
  std::set<std::string_view> known;
  for (const NamedTensor& named : tensors) {
    known.insert(named.name);
    const auto file = std::find_if(files.begin(), files.end(), [&](const SafetensorsFile& each) {
      return each.find(named.name) != nullptr;
    });
    GHOST_CHECK(file != files.end(), "{}: tensor {} is missing", paths_of(files), named.name);
    if (named.tensor.defined()) {
      read_tensor(*file, *file->find(named.name), named.tensor);
    }
  }
  for (const SafetensorsFile& file : files) {
    for (const TensorView& stored : file.tensors()) {
      GHOST_CHECK(known.contains(stored.name), "{}: tensor {} has no place in this model",
                  file.path().string(), stored.name);
    }
  }
}

}  // namespace ghost
