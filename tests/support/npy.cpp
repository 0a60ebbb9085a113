#include "tests/support/npy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <regex>
#include <string_view>

#include "engine/io/file.h"

namespace ghost::test {
namespace {

// The header is a Python literal: {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }.
std::string capture(const std::string& path, const std::string& header, const char* pattern,
                    const char* what) {
  std::smatch match;
  GHOST_CHECK(std::regex_search(header, match, std::regex(pattern)), "{}: the npy header has no {}",
              path, what);
  return match[1];
}

std::vector<std::int64_t> parse_shape(const std::string& text) {
  std::vector<std::int64_t> shape;
  const std::regex number("[0-9]+");
  for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it) {
    shape.push_back(std::stoll(it->str()));
  }
  return shape;
}

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

}  // namespace

NpyArray read_npy(const std::filesystem::path& path) {
  const std::string where = path.string();
  const std::string file = read_file(path);
  GHOST_CHECK(file.size() >= 12 && file.starts_with("\x93NUMPY"), "{}: not an npy file", where);
  const int version = static_cast<unsigned char>(file[6]);
  GHOST_CHECK(version >= 1 && version <= 3, "{}: npy version {}; expected 1 to 3", where, version);
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  const std::size_t header_begin = 8 + length_bytes;
  const std::size_t header_bytes = little_endian(std::string_view(file).substr(8, length_bytes));
  GHOST_CHECK(header_bytes <= file.size() - header_begin, "{}: the npy header is truncated", where);
  const std::string header = file.substr(header_begin, header_bytes);

  NpyArray array;
  array.dtype = capture(where, header, "'descr': *'([^']*)'", "descr");
  constexpr std::array<std::string_view, 6> kDtypes = {"<f8", "<f4", "<i4", "<u4", "<i8", "|i1"};
  GHOST_CHECK(std::find(kDtypes.begin(), kDtypes.end(), array.dtype) != kDtypes.end(),
              "{}: npy dtype {}; expected <f8, <f4, <i4, <u4, <i8 or |i1", where, array.dtype);
  GHOST_CHECK(capture(where, header, "'fortran_order': *(True|False)", "fortran_order") == "False",
              "{}: the array is in Fortran order; expected C order", where);
  array.shape = parse_shape(capture(where, header, "'shape': *\\(([0-9, ]*)\\)", "shape"));

  auto expected = static_cast<std::size_t>(array.dtype.back() - '0');
  for (const std::int64_t dim : array.shape) {
    expected *= static_cast<std::size_t>(dim);
  }
  const std::string_view data = std::string_view(file).substr(header_begin + header_bytes);
  GHOST_CHECK(data.size() == expected, "{}: {} bytes of data; expected {} from the shape", where,
              data.size(), expected);
  array.bytes.resize(data.size());
  std::copy_n(as_bytes(data).begin(), data.size(), array.bytes.begin());
  return array;
}

}  // namespace ghost::test
