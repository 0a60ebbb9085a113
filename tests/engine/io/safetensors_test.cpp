#include "engine/io/safetensors.h"

#include <cstring>

#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/io/sha256.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using test::TemporaryDirectory;

// A file as another program would write it: the header may say anything.
std::string raw(const std::string& header, std::size_t data_bytes, std::uint64_t length) {
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + std::string(data_bytes, 'd');
}

std::string raw(const std::string& header, std::size_t data_bytes) {
  return raw(header, data_bytes, header.size());
}

TEST_CASE("safetensors come back as they were written", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory / "model.safetensors";
  const std::string data = "0123456789abcdefghijklmn";
  const std::vector<TensorView> written = {
      {"b", "U8", {3}, as_bytes(data).first(3)},
      {"a.weight", "F32", {2, 1}, as_bytes(data).subspan(3, 8)},
      {"scalar", "F64", {}, as_bytes(data).subspan(8, 8)},
      {"empty", "F32", {0, 4}, {}},
  };
  const std::string digest = write_safetensors(path, written, {{"step", "12"}});
  CHECK(digest == sha256_file(path));

  const SafetensorsFile file(path);
  CHECK(file.metadata() == SafetensorsMetadata{{"format", "pt"}, {"step", "12"}});
  REQUIRE(file.tensors().size() == written.size());
  for (const TensorView& tensor : written) {
    INFO(tensor.name);
    const TensorView* read = file.find(tensor.name);
    REQUIRE(read != nullptr);
    CHECK(read->dtype == tensor.dtype);
    CHECK(read->shape == tensor.shape);
    CHECK(std::ranges::equal(read->bytes, tensor.bytes));
  }
  CHECK(file.find("none") == nullptr);
}

TEST_CASE("safetensors stand by item size, then name, after a padded header", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory / "model.safetensors";
  const std::string data(16, '\0');
  write_safetensors(path, std::vector<TensorView>{{"z", "U8", {1}, as_bytes(data).first(1)},
                                                  {"b", "F32", {1}, as_bytes(data).first(4)},
                                                  {"a", "F32", {1}, as_bytes(data).first(4)},
                                                  {"y", "I64", {1}, as_bytes(data).first(8)}});
  const SafetensorsFile file(path);
  std::string order;
  for (const TensorView& tensor : file.tensors()) {
    order += tensor.name;
  }
  CHECK(order == "yabz");
  const std::string text = read_file(path);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), sizeof header_bytes);
  CHECK(header_bytes % 8 == 0);
  const auto header = nlohmann::json::parse(text.substr(8, header_bytes));
  CHECK(header["a"]["data_offsets"] == nlohmann::json({8, 12}));
  CHECK(header["__metadata__"] == nlohmann::json({{"format", "pt"}}));
}

TEST_CASE("a safetensors file without tensors is one", "[io]") {
  const TemporaryDirectory directory;
  write_safetensors(directory / "none", {});
  CHECK(SafetensorsFile(directory / "none").tensors().empty());
  CHECK(SafetensorsFile(directory.write("bare", raw("{}   ", 0))).tensors().empty());
}

TEST_CASE("write_safetensors refuses what no reader would take", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory / "model.safetensors";
  const std::string data(16, '\0');
  const auto check = [&](const std::vector<TensorView>& tensors, const std::string& message) {
    CHECK_THROWS_WITH(write_safetensors(path, tensors),
                      "cannot write " + path.string() + ": " + message);
    CHECK_FALSE(std::filesystem::exists(path));
  };
  const TensorView good{"w", "F64", {2}, as_bytes(data)};
  check({good, good}, "the tensor name w is used twice or reserved");
  check({{"__metadata__", "F64", {2}, as_bytes(data)}},
        "the tensor name __metadata__ is used twice or reserved");
  check({{"w", "F8", {2}, as_bytes(data)}}, "tensor w has the unknown dtype F8");
  check({{"w", "F32", {2}, as_bytes(data)}},
        "tensor w has 16 bytes, which is not the size of F32 [2]");
  check({{"w", "F32", {-1}, {}}}, "tensor w has 0 bytes, which is not the size of F32 [-1]");
  CHECK_THROWS_WITH(
      write_safetensors(path, std::vector<TensorView>{{"\xff", "F64", {2}, as_bytes(data)}}),
      Catch::Matchers::StartsWith("cannot write " + path.string() +
                                  ": a name or metadata is not UTF-8: "));
}

// Both readers of a defect: the message, and that nothing but ghost::Error is thrown.
void check_refused(const std::string& file, const std::string& message) {
  const TemporaryDirectory directory;
  const auto path = directory.write("bad.safetensors", file);
  INFO(message);
  CHECK_THROWS_WITH(SafetensorsFile(path), path.string() + ": " + message);
  CHECK_THROWS_AS(SafetensorsFile(path), Error);
}

std::string one(const std::string& entry) { return R"({"w":)" + entry + "}"; }

TEST_CASE("a safetensors header that is none is refused", "[io]") {
  check_refused("1234567", "7 bytes is too short for a safetensors file; expected at least 8");
  check_refused(raw("{}", 0, 100'000'001),
                "the header claims 100000001 bytes; a safetensors header has at most 100000000");
  check_refused(raw("{}", 0, 3),
                "the header claims 3 bytes, the file has 2 after the length; it is truncated");
  check_refused(raw("[1]", 0), "not a safetensors file: the header does not begin with {");
  check_refused(raw("", 0), "not a safetensors file: the header does not begin with {");
  check_refused(raw(R"({"w":1,"w":2})", 0), "key w stands twice in the header");
  check_refused(raw(one(R"({"dtype":"F32","dtype":"F64"})"), 0),
                "key dtype stands twice in the header");
  check_refused(raw(R"({"__metadata__":[]})", 0), "__metadata__ is not a JSON object");
  check_refused(raw(R"({"__metadata__":{"step":12}})", 0),
                "__metadata__ entry step is not a string");

  const TemporaryDirectory directory;
  const auto path = directory.write("bad.safetensors", raw(R"({"w":)", 0));
  CHECK_THROWS_WITH(SafetensorsFile(path), Catch::Matchers::StartsWith(
                                               path.string() + ": the header is not valid JSON: "));
}

TEST_CASE("a safetensors entry that does not describe a tensor is refused", "[io]") {
  check_refused(raw(one("3"), 0), "tensor w is not described by a JSON object");
  check_refused(raw(one(R"({"shape":[1],"data_offsets":[0,4]})"), 4), "tensor w has no dtype");
  check_refused(raw(one(R"({"dtype":"F33","shape":[1],"data_offsets":[0,4]})"), 4),
                "tensor w has the unknown dtype F33");
  const std::string no_shape = "tensor w has no shape; expected a list of sizes";
  check_refused(raw(one(R"({"dtype":"F32","data_offsets":[0,4]})"), 4), no_shape);
  check_refused(raw(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), 4), no_shape);
  check_refused(raw(one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), 4), no_shape);
  check_refused(
      raw(one(R"({"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]})"), 4),
      no_shape);
  const std::string no_offsets =
      "tensor w has no data_offsets; expected [begin, end) with begin <= end";
  check_refused(raw(one(R"({"dtype":"F32","shape":[1],"offsets":[0,4]})"), 4), no_offsets);
  check_refused(raw(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4]})"), 4), no_offsets);
  check_refused(raw(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), 4), no_offsets);
  check_refused(
      raw(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"), 4),
      "tensor w of F32 [4294967296,4294967296] is larger than 64 bits can address");
  check_refused(raw(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,4]})"), 4),
                "tensor w of F32 [3] takes 4 bytes; expected 12");
}

TEST_CASE("safetensors data that the header does not cover is refused", "[io]") {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + a +
           R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + b + "}}";
  };
  check_refused(raw(two("[0,4]", "[4,8]"), 7),
                "tensor b ends at byte 8 of the data, which has 7; the file is truncated");
  check_refused(raw(two("[0,4]", "[4,8]"), 9), "1 bytes follow the last tensor; expected none");
  check_refused(raw(two("[0,4]", "[6,10]"), 10),
                "bytes 4 to 6 before tensor b belong to no tensor");
  check_refused(raw(two("[4,8]", "[8,12]"), 12),
                "bytes 0 to 4 before tensor a belong to no tensor");
  check_refused(raw(two("[0,4]", "[2,6]"), 6),
                "tensor b begins at byte 2, inside the tensor before it");
  check_refused(raw(two("[0,4]", "[0,4]"), 4),
                "tensor b begins at byte 0, inside the tensor before it");
  check_refused(raw("{}", 1), "1 bytes follow the last tensor; expected none");
}

}  // namespace
}  // namespace ghost
