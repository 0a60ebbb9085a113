#include "engine/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/io/sha256.h"

namespace ghost {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::int64_t kPrefixBytes = 8;                // u64 header length
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the cap of the reference reader
constexpr std::string_view kMetadataKey = "__metadata__";

// Bytes of a tensor; nothing when a dimension is negative or the product leaves 64 bits.
std::optional<std::int64_t> byte_count(std::span<const std::int64_t> shape,
                                       std::int64_t item_size) {
  std::int64_t bytes = item_size;
  for (const std::int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

using Json = nlohmann::json;

// nlohmann keeps the last of two equal keys in silence, so keys are watched while parsing.
class DuplicateKeys {
 public:
  explicit DuplicateKeys(const std::string& path) : path_(path) {}

  bool operator()(int /*depth*/, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      open_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      GHOST_CHECK(open_.back().insert(key).second, "{}: key {} stands twice in the header", path_,
                  key);
    }
    return true;
  }

 private:
  const std::string& path_;
  std::vector<std::set<std::string>> open_;
};

Json parse_header(const std::string& path, std::string_view text) {
  DuplicateKeys duplicates(path);
  try {
    // By reference: the parser copies its callback, and the state must be one.
    return Json::parse(text, std::ref(duplicates));
  } catch (const Json::parse_error& error) {
    fail("{}: the header is not valid JSON: {}", path, error.what());
  }
}

// The header as text, after the length prefix has been checked against the file.
std::string_view header_text(const std::string& path, std::span<const std::byte> file) {
  GHOST_CHECK(file.size() >= kPrefixBytes,
              "{}: {} bytes is too short for a safetensors file; expected at least {}", path,
              file.size(), kPrefixBytes);
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  GHOST_CHECK(length <= kMaxHeaderBytes,
              "{}: the header claims {} bytes; a safetensors header has at most {}", path, length,
              kMaxHeaderBytes);
  GHOST_CHECK(length <= file.size() - kPrefixBytes,
              "{}: the header claims {} bytes, the file has {} after the length; it is truncated",
              path, length, file.size() - kPrefixBytes);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kPrefixBytes, length);
  GHOST_CHECK(text.starts_with('{'),
              "{}: not a safetensors file: the header does not begin with {{", path);
  return text;
}

SafetensorsMetadata read_metadata(const std::string& path, const Json& entry) {
  GHOST_CHECK(entry.is_object(), "{}: {} is not a JSON object", path, kMetadataKey);
  SafetensorsMetadata metadata;
  for (const auto& [key, value] : entry.items()) {
    GHOST_CHECK(value.is_string(), "{}: {} entry {} is not a string", path, kMetadataKey, key);
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

// A list of unsigned integers that fit std::int64_t.
std::optional<std::vector<std::int64_t>> read_integers(const Json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) {
    return std::nullopt;
  }
  std::vector<std::int64_t> values;
  for (const Json& value : *found) {
    if (!value.is_number_unsigned() || !std::in_range<std::int64_t>(value.get<std::uint64_t>())) {
      return std::nullopt;
    }
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

// One header entry against the data after the header.
TensorView read_entry(const std::string& path, const std::string& name, const Json& entry,
                      std::span<const std::byte> data) {
  GHOST_CHECK(entry.is_object(), "{}: tensor {} is not described by a JSON object", path, name);
  const auto dtype = entry.find("dtype");
  GHOST_CHECK(dtype != entry.end() && dtype->is_string(), "{}: tensor {} has no dtype", path, name);
  TensorView view{.name = name, .dtype = dtype->get<std::string>(), .shape = {}, .bytes = {}};
  const std::optional<std::int64_t> item_size = safetensors_item_size(view.dtype);
  GHOST_CHECK(item_size.has_value(), "{}: tensor {} has the unknown dtype {}", path, name,
              view.dtype);

  auto shape = read_integers(entry, "shape");
  GHOST_CHECK(shape.has_value(), "{}: tensor {} has no shape; expected a list of sizes", path,
              name);
  view.shape = std::move(*shape);

  const auto offsets = read_integers(entry, "data_offsets");
  GHOST_CHECK(offsets.has_value() && offsets->size() == 2 && (*offsets)[0] <= (*offsets)[1],
              "{}: tensor {} has no data_offsets; expected [begin, end) with begin <= end", path,
              name);
  const std::int64_t begin = (*offsets)[0];
  const std::int64_t end = (*offsets)[1];
  const std::optional<std::int64_t> expected = byte_count(view.shape, *item_size);
  GHOST_CHECK(expected.has_value(), "{}: tensor {} of {} {} is larger than 64 bits can address",
              path, name, view.dtype, shape_text(view.shape));
  GHOST_CHECK(end - begin == *expected, "{}: tensor {} of {} {} takes {} bytes; expected {}", path,
              name, view.dtype, shape_text(view.shape), end - begin, *expected);
  GHOST_CHECK(std::cmp_less_equal(end, data.size()),
              "{}: tensor {} ends at byte {} of the data, which has {}; the file is truncated",
              path, name, end, data.size());
  view.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  return view;
}

// `tensors` in file order must lie end to end from the first byte of the data to the last.
void check_coverage(const std::string& path, std::span<const TensorView> tensors,
                    std::span<const std::byte> data) {
  std::size_t cursor = 0;
  for (const TensorView& tensor : tensors) {
    const auto begin = static_cast<std::size_t>(tensor.bytes.data() - data.data());
    GHOST_CHECK(begin >= cursor, "{}: tensor {} begins at byte {}, inside the tensor before it",
                path, tensor.name, begin);
    GHOST_CHECK(begin == cursor, "{}: bytes {} to {} before tensor {} belong to no tensor", path,
                cursor, begin, tensor.name);
    cursor = begin + tensor.bytes.size();
  }
  GHOST_CHECK(cursor == data.size(), "{}: {} bytes follow the last tensor; expected none", path,
              data.size() - cursor);
}

// Larger items first keeps every tensor aligned to its dtype.
std::vector<const TensorView*> in_file_order(std::span<const TensorView> tensors) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) {
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
    const auto size_a = safetensors_item_size(a->dtype);
    const auto size_b = safetensors_item_size(b->dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });
  return order;
}

void check_writable(const std::string& path, std::span<const TensorView> tensors) {
  std::set<std::string_view> names;
  for (const TensorView& tensor : tensors) {
    GHOST_CHECK(tensor.name != kMetadataKey && names.insert(tensor.name).second,
                "cannot write {}: the tensor name {} is used twice or reserved", path, tensor.name);
    const auto item_size = safetensors_item_size(tensor.dtype);
    GHOST_CHECK(item_size.has_value(), "cannot write {}: tensor {} has the unknown dtype {}", path,
                tensor.name, tensor.dtype);
    const auto expected = byte_count(tensor.shape, *item_size);
    GHOST_CHECK(expected.has_value() && std::cmp_equal(*expected, tensor.bytes.size()),
                "cannot write {}: tensor {} has {} bytes, which is not the size of {} {}", path,
                tensor.name, tensor.bytes.size(), tensor.dtype, shape_text(tensor.shape));
  }
}

std::string make_header(const std::string& path, std::span<const TensorView* const> order,
                        SafetensorsMetadata metadata) {
  metadata["format"] = "pt";
  nlohmann::ordered_json header;  // names in file order, as the reference writer has them
  header[std::string(kMetadataKey)] = metadata;
  std::int64_t offset = 0;
  for (const TensorView* tensor : order) {
    const std::int64_t end = offset + static_cast<std::int64_t>(tensor->bytes.size());
    header[tensor->name] = {
        {"dtype", tensor->dtype}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error& error) {
    fail("cannot write {}: a name or metadata is not UTF-8: {}", path, error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  GHOST_CHECK(text.size() <= kMaxHeaderBytes,
              "cannot write {}: the header takes {} bytes; expected at most {}", path, text.size(),
              kMaxHeaderBytes);
  return text;
}

}  // namespace

std::optional<std::int64_t> safetensors_item_size(std::string_view dtype) {
  struct Known {
    std::string_view name;
    std::int64_t bytes;
  };
  static constexpr auto kKnown = std::to_array<Known>({{"BOOL", 1},
                                                       {"U8", 1},
                                                       {"I8", 1},
                                                       {"F8_E4M3", 1},
                                                       {"F8_E5M2", 1},
                                                       {"I16", 2},
                                                       {"U16", 2},
                                                       {"F16", 2},
                                                       {"BF16", 2},
                                                       {"I32", 4},
                                                       {"U32", 4},
                                                       {"F32", 4},
                                                       {"I64", 8},
                                                       {"U64", 8},
                                                       {"F64", 8}});
  for (const Known& known : kKnown) {
    if (known.name == dtype) {
      return known.bytes;
    }
  }
  return std::nullopt;
}

std::string write_safetensors(const std::filesystem::path& path,
                              std::span<const TensorView> tensors,
                              const SafetensorsMetadata& metadata) {
  check_writable(path.string(), tensors);
  const std::vector<const TensorView*> order = in_file_order(tensors);
  const std::string header = make_header(path.string(), order, metadata);
  const std::uint64_t length = header.size();

  AtomicFile file(path);
  Sha256 sha;
  const auto put = [&](std::span<const std::byte> bytes) {
    sha.update(bytes);
    file.write(bytes);
  };
  put(std::as_bytes(std::span(&length, 1)));
  put(as_bytes(header));
  for (const TensorView* tensor : order) {
    put(tensor->bytes);
  }
  file.commit();
  return sha.hex();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  const std::string_view text = header_text(where, file_.bytes());
  const auto data = file_.bytes().subspan(static_cast<std::size_t>(kPrefixBytes) + text.size());
  const Json header = parse_header(where, text);
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = read_metadata(where, entry);
    } else {
      tensors_.push_back(read_entry(where, name, entry, data));
    }
  }
  // An empty tensor stands before the one that begins at the same byte.
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorView& a, const TensorView& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  check_coverage(where, tensors_, data);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    index_.emplace(tensors_[i].name, i);
  }
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace ghost
