#include "data/tar_file.h"

#include "engine/core/error.h"
#include "tests/data/test_files.h"

namespace ghost {
namespace {

std::string member(const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  const std::string size = fmt::format("{:011o}", content.size());
  header.replace(124, size.size(), size);
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512, '\0');
  return header + padded;
}

TEST_CASE("members of a tar archive are taken out by name", "[data]") {
  const TestDir dir;
  const std::string large(100'000, 'x');
  const auto archive = dir.write("a.tar", member("folder/", "") + member("folder/a.bin", "abc") +
                                              member("folder/b.bin", large) +
                                              member("folder/c.bin", "no") + std::string(1024, 0));
  extract_from_tar(archive, {"b.bin", "a.bin"}, dir.path());
  CHECK(read_text(dir / "a.bin") == "abc");
  CHECK(read_text(dir / "b.bin") == large);
  CHECK_FALSE(std::filesystem::exists(dir / "c.bin"));
  CHECK_THROWS_WITH(extract_from_tar(archive, {"d.bin"}, dir.path()),
                    archive.string() + ": no member d.bin");
  const auto cut = dir.write("cut.tar", member("b.bin", large).substr(0, 5000));
  CHECK_THROWS_WITH(extract_from_tar(cut, {"b.bin"}, dir.path()),
                    cut.string() + ": the archive ends inside of a member");
  const auto other = dir.write("other.tar", std::string(1024, 'x'));
  CHECK_THROWS_WITH(extract_from_tar(other, {"b.bin"}, dir.path()),
                    other.string() + ": not a tar archive");
}

}  // namespace
}  // namespace ghost
