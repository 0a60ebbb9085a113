#include "engine/io/sha256.h"

#include "engine/core/error.h"
#include "engine/io/file.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

// FIPS 180-4 example, and the digest of nothing.
const std::string kOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const std::string kOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST_CASE("sha256 gives the published digests", "[io]") {
  CHECK(sha256_hex(as_bytes("abc")) == kOfAbc);
  CHECK(sha256_hex({}) == kOfNothing);
}

TEST_CASE("sha256 of a stream may be read at any time", "[io]") {
  Sha256 sha;
  CHECK(sha.hex() == kOfNothing);
  sha.update(as_bytes("a"));
  sha.update(as_bytes("bc"));
  CHECK(sha.hex() == kOfAbc);
  CHECK(sha.hex() == kOfAbc);
}

TEST_CASE("sha256 of a file is that of its bytes", "[io]") {
  const test::TemporaryDirectory directory;
  CHECK(sha256_file(directory.write("abc", "abc")) == kOfAbc);
  CHECK(sha256_file(directory.write("empty", "")) == kOfNothing);
  CHECK_THROWS_WITH(sha256_file(directory / "none"),
                    "cannot read " + (directory / "none").string() + ": No such file or directory");
}

}  // namespace
}  // namespace ghost
