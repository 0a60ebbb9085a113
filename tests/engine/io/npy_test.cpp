#include "tests/support/npy.h"

#include <bit>

#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost::test {
namespace {

std::string literal(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

// A .npy file of the given version: magic, version, header length, header, data.
std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += {version, '\0', static_cast<char>(header.size()), '\0'};
  if (version > 1) {
    file += {'\0', '\0'};
  }
  return file + header + data;
}

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST_CASE("npy arrays of the four dtypes are read", "[support]") {
  const TemporaryDirectory directory;
  const auto f8 = read_npy(
      directory.write("f8", npy(literal("<f8", "False", "(2, 1)"), bytes_of({1.5, -2.0}))));
  CHECK(f8.shape == std::vector<std::int64_t>{2, 1});
  CHECK(f8.as<double>()[1] == -2.0);
  const auto f4 = read_npy(
      directory.write("f4", npy(literal("<f4", "False", "(2,)"), bytes_of({1.5F, 3.0F}), 2)));
  CHECK(f4.shape == std::vector<std::int64_t>{2});
  CHECK(f4.as<float>()[0] == 1.5F);
  const auto i4 = read_npy(
      directory.write("i4", npy(literal("<i4", "False", "()"), bytes_of<std::int32_t>({-7}))));
  CHECK(i4.shape.empty());
  CHECK(i4.as<std::int32_t>()[0] == -7);
  const auto i8 = read_npy(directory.write("i8", npy(literal("<i8", "False", "(0, 3)"), "")));
  CHECK(i8.as<std::int64_t>().empty());
}

TEST_CASE("npy errors name the file and the defect", "[support]") {
  const TemporaryDirectory directory;
  const std::string data = bytes_of({1.0, 2.0});
  const auto check = [&](const std::string& file, const std::string& message) {
    const auto path = directory.write("bad.npy", file);
    CHECK_THROWS_WITH(read_npy(path), path.string() + ": " + message);
  };
  const std::string good = literal("<f8", "False", "(2,)");
  check("PK and more bytes", "not an npy file");
  check(npy(good, data, 9), "npy version 9; expected 1 to 3");
  check(npy(good, data).substr(0, 30), "the npy header is truncated");
  check(npy("{}", data), "the npy header has no descr");
  check(npy(literal(">f8", "False", "(2,)"), data),
        "npy dtype >f8; expected <f8, <f4, <i4, <u4, <i8 or |i1");
  check(npy(literal("<f8", "None", "(2,)"), data), "the npy header has no fortran_order");
  check(npy(literal("<f8", "True", "(2,)"), data),
        "the array is in Fortran order; expected C order");
  check(npy(literal("<f8", "False", "2"), data), "the npy header has no shape");
  check(npy(good, data.substr(1)), "15 bytes of data; expected 16 from the shape");
}

TEST_CASE("an npy array is not reinterpreted", "[support]") {
  const NpyArray array{.shape = {}, .dtype = "<f8", .bytes = std::vector<std::byte>(8)};
  CHECK_THROWS_WITH(array.as<float>(), "npy array of <f8 read as <f4");
}

}  // namespace
}  // namespace ghost::test
