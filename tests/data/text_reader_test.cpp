#include "data/text_reader.h"

#include <zlib.h>

#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Documents = std::vector<std::string>;

Documents read_all(const std::filesystem::path& path, const std::string& field = "text") {
  TextReader reader(path, text_format_of(path), field);
  Documents documents;
  for (std::string document; reader.next(document);) {
    documents.push_back(document);
  }
  return documents;
}

/// One gzip member.
std::string packed(const std::string& text) {
  const TestDir dir;
  const auto path = (dir / "x.gz").string();
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) ==
          static_cast<int>(text.size()));
  REQUIRE(gzclose(file) == Z_OK);
  return read_text(path);
}

TEST_CASE("a text file is one document", "[data]") {
  const TestDir dir;
  CHECK(read_all(dir.write("a.txt", "one\n\ntwo")) == Documents{"one\n\ntwo"});
}

TEST_CASE("JSON lines are documents", "[data]") {
  const TestDir dir;
  const std::string lines =
      "{\"text\": \"one\\n\\u00e9\", \"id\": 1}\r\n\n{\"id\": 2, \"text\": \"two\"}";
  CHECK(read_all(dir.write("a.jsonl", lines)) == Documents{"one\né", "two"});
  CHECK(read_all(dir.write("b.ndjson", "{\"body\": \"x\"}\n"), "body") == Documents{"x"});
}

TEST_CASE("gzip files are unpacked, also of several members", "[data]") {
  const TestDir dir;
  CHECK(read_all(dir.write("a.txt.gz", packed("one ") + packed("two"))) == Documents{"one two"});
  CHECK(read_all(dir.write("a.jsonl.gz", packed("{\"text\": \"a\"}\n{\"te") +
                                             packed("xt\": \"b\"}\n"))) == Documents{"a", "b"});
}

TEST_CASE("a line may be longer than the read buffer", "[data]") {
  const TestDir dir;
  const std::string big(5'000'000, 'x');
  const auto documents =
      read_all(dir.write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"" + big + "\"}\n"));
  REQUIRE(documents.size() == 2);
  CHECK(documents[1] == big);
}

TEST_CASE("bad records are refused with file and line", "[data]") {
  const TestDir dir;
  const auto refused = [&](const std::string& line, const std::string& message) {
    const auto path = dir.write("a.jsonl", "{\"text\": \"fine\"}\n" + line + "\n");
    CHECK_THROWS_WITH(read_all(path), path.string() + ":2: " + message);
  };
  refused("{\"text\": ", "not valid JSON");
  refused("{\"text\": \"\xFF\"}", "not valid JSON");
  refused("[1]", "expected a JSON object, found array");
  refused("{\"body\": \"x\"}", "no field \"text\" in the record");
  refused("{\"text\": 3}", "field \"text\" is number; expected a string");
  refused("{\"text\": \"\"}", "field \"text\" is empty; expected some text");
}

TEST_CASE("files without text are refused", "[data]") {
  const TestDir dir;
  for (const char* name : {"a.txt", "a.jsonl", "a.jsonl.gz"}) {
    const auto path = dir.write(name, "");
    CHECK_THROWS_WITH(read_all(path), path.string() + ": no text in the file");
  }
}

TEST_CASE("files that cannot be read are refused", "[data]") {
  const TestDir dir;
  CHECK_THROWS_WITH(read_all(dir / "no.txt"),
                    "cannot read " + (dir / "no.txt").string() + ": No such file or directory");
  std::filesystem::create_directory(dir / "d.txt");
  CHECK_THROWS_WITH(read_all(dir / "d.txt"),
                    "cannot read " + (dir / "d.txt").string() + ": it is a directory");
  CHECK_THROWS_WITH(read_all("a.parquet"),
                    "a.parquet: unknown kind of text; expected .txt, .jsonl or .ndjson, or one of "
                    "them with .gz");
}

TEST_CASE("a truncated gzip file is refused", "[data]") {
  const TestDir dir;
  const std::string whole = packed(std::string(100000, 'a') + "b");
  const auto path = dir.write("a.txt.gz", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(read_all(path),
                    "cannot unpack " + path.string() +
                        ": unexpected end of file; the file is truncated or damaged");
}

}  // namespace
}  // namespace ghost
