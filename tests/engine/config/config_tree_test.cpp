#include "engine/config/config_tree.h"

#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using test::TemporaryDirectory;

std::string scalar_at(const ConfigNode& root, std::string_view path) {
  const ConfigNode* node = root.find_path(path);
  return node == nullptr ? "absent" : node->is_scalar() ? node->scalar : node->describe();
}

std::string origin_of(const ConfigNode& root, std::string_view path) {
  const ConfigNode* node = root.find_path(path);
  return node == nullptr ? "absent" : node->origin.text();
}

void check_refused(std::string_view text, const std::string& message) {
  INFO(text);
  CHECK_THROWS_AS(parse_config(text, "a.yaml"), ConfigError);
  CHECK_THROWS_WITH(parse_config(text, "a.yaml"), message);
}

ConfigNode with_override(std::string_view text, std::string_view assignment) {
  ConfigNode root = parse_config(text, "a.yaml");
  apply_override(root, assignment);
  return root;
}

TEST_CASE("a config keeps values, order and lines", "[config]") {
  const ConfigNode root = parse_config(
      "train:\n"
      "  steps: 5  # a comment\n"
      "  name: '5'\n"
      "  nothing: ~\n"
      "rules:\n"
      "  - {keep: exact}\n"
      "  - keep: sketch\n",
      "a.yaml");
  CHECK(scalar_at(root, "train.steps") == "5");
  CHECK(scalar_at(root, "train.nothing") == "null");
  CHECK(scalar_at(root, "rules.1.keep") == "sketch");
  CHECK(scalar_at(root, "rules.2.keep") == "absent");
  CHECK(scalar_at(root, "rules.x") == "absent");
  CHECK(scalar_at(root, "train") == "a map");
  CHECK(scalar_at(root, "rules") == "a list");
  CHECK_FALSE(root.find_path("train.steps")->quoted);
  CHECK(root.find_path("train.name")->quoted);
  CHECK(root.entries[0].key == "train");
  CHECK(root.entries[1].key == "rules");
  CHECK(origin_of(root, "train") == "a.yaml:1");
  CHECK(origin_of(root, "train.steps") == "a.yaml:2");
  CHECK(origin_of(root, "rules.0.keep") == "a.yaml:6");
}

TEST_CASE("an empty config is an empty map", "[config]") {
  CHECK(parse_config("", "a.yaml").is_map());
  CHECK(parse_config("# nothing yet\n", "a.yaml").is_map());
}

TEST_CASE("bases are merged map by map, lists and values replaced", "[config]") {
  const TemporaryDirectory directory;
  directory.write("base/small.yaml", "train: {steps: 5, seed: 1}\nlist: [1, 2]\nonly: here\n");
  directory.write("base/fast.yaml", "train: {steps: 6, lr: 2}\n");
  const auto path = directory.write("run.yaml",
                                    "base: [base/small.yaml, base/fast.yaml]\n"
                                    "train:\n"
                                    "  seed: 9\n"
                                    "list: [3]\n");
  const ConfigNode root = load_config(path);
  CHECK(scalar_at(root, "base") == "absent");
  CHECK(scalar_at(root, "train.steps") == "6");
  CHECK(scalar_at(root, "train.seed") == "9");
  CHECK(scalar_at(root, "train.lr") == "2");
  CHECK(scalar_at(root, "only") == "here");
  CHECK(root.find("list")->items.size() == 1);
  CHECK(origin_of(root, "train.seed") == path.string() + ":3");
  CHECK(origin_of(root, "only") == (directory / "base/small.yaml").string() + ":3");
}

TEST_CASE("a base is relative to the file that names it", "[config]") {
  const TemporaryDirectory directory;
  directory.write("c.yaml", "x: 1\n");
  directory.write("sub/b.yaml", "base: ../c.yaml\ny: 2\n");
  const ConfigNode root = load_config(directory.write("a.yaml", "base: sub/b.yaml\n"));
  CHECK(scalar_at(root, "x") == "1");
  CHECK(scalar_at(root, "y") == "2");
}

TEST_CASE("two bases may share one of their own", "[config]") {
  const TemporaryDirectory directory;
  directory.write("common.yaml", "x: 1\n");
  directory.write("a.yaml", "base: common.yaml\n");
  directory.write("b.yaml", "base: common.yaml\n");
  CHECK(scalar_at(load_config(directory.write("run.yaml", "base: [a.yaml, b.yaml]\n")), "x") ==
        "1");
}

TEST_CASE("a missing config or base names the file that asks for it", "[config]") {
  const TemporaryDirectory directory;
  const std::string missing = (directory / "none.yaml").string();
  CHECK_THROWS_AS(load_config(missing), ConfigError);
  CHECK_THROWS_WITH(load_config(missing), "cannot read " + missing + ": No such file or directory");
  const auto path = directory.write("a.yaml", "x: 1\nbase: none.yaml\n");
  CHECK_THROWS_WITH(load_config(path),
                    path.string() + ":2: cannot read " + missing + ": No such file or directory");
  CHECK_THROWS_WITH(load_config(directory.path()),
                    "cannot read " + directory.path().string() + ": Is a directory");
}

TEST_CASE("a cycle of bases is refused", "[config]") {
  const TemporaryDirectory directory;
  const auto a = directory.write("a.yaml", "base: b.yaml\n");
  const auto b = directory.write("b.yaml", "x: 1\nbase: sub/../a.yaml\n");
  CHECK_THROWS_WITH(load_config(a),
                    b.string() + ":2: base " + a.string() + " is a cycle: it builds on this file");
  const auto self = directory.write("self.yaml", "base: self.yaml\n");
  CHECK_THROWS_WITH(load_config(self), self.string() + ":1: base " + self.string() +
                                           " is a cycle: it builds on this file");
}

// What follows in the message is the parser's, and differs from version to version.
void check_syntax(std::string_view text, const std::string& place) {
  INFO(text);
  CHECK_THROWS_AS(parse_config(text, "a.yaml"), ConfigError);
  CHECK_THROWS_WITH(parse_config(text, "a.yaml"),
                    Catch::Matchers::StartsWith(place + ": not valid YAML: "));
}

TEST_CASE("YAML errors are one line with its place", "[config]") {
  check_syntax("a: 1\nb: [1, 2\nc: 3\n", "a.yaml:3");
  check_syntax("a: 1\n\tb: 2\n", "a.yaml:2");
  check_syntax("a: 1\nb: *none\n", "a.yaml:2");
  ConfigNode root;
  CHECK_THROWS_WITH(apply_override(root, "a.b=[1"),
                    Catch::Matchers::StartsWith("--set a.b: not valid YAML: "));
  CHECK(root.is_null());
}

TEST_CASE("defects of a config file are one line with its place", "[config]") {
  check_refused("x: 0\na: {b: 1,\n c: 2, b: 3}\n",
                "a.yaml:3: key b stands twice in one map; first at a.yaml:2");
  check_refused("a: 1\n---\nb: 2\n", "a.yaml: 2 YAML documents; expected one");
  check_refused("- 1\n", "a.yaml:1: the file is a list; expected a map");
  check_refused("hello\n", "a.yaml:1: the file is \"hello\"; expected a map");
  check_refused("{a: 1}: 2\n", "a.yaml:1: a key is not a plain word");
  check_refused("a: 1\nb: &x [*x]\n", "a.yaml:2: nested deeper than 64 levels");
  check_refused("base: {a: 1}\n",
                "a.yaml:1: base is a map; expected a file name or a list of them");
  check_refused("base:\n  - [1]\n",
                "a.yaml:2: base is a list; expected a file name or a list of them");
}

TEST_CASE("an override replaces, makes maps and indexes lists", "[config]") {
  const std::string text = "train: {steps: 5}\nempty:\nrules:\n  - keep: exact\n  - keep: cast\n";
  const ConfigNode replaced = with_override(text, "train.steps=7");
  CHECK(scalar_at(replaced, "train.steps") == "7");
  CHECK(origin_of(replaced, "train.steps") == "--set train.steps");
  CHECK(scalar_at(with_override(text, "optimizer.adam.eps=1e-8"), "optimizer.adam.eps") == "1e-8");
  CHECK(scalar_at(with_override(text, "empty.x=1"), "empty.x") == "1");
  const ConfigNode element = with_override(text, "rules.1.keep=sketch");
  CHECK(scalar_at(element, "rules.0.keep") == "exact");
  CHECK(scalar_at(element, "rules.1.keep") == "sketch");
  CHECK(scalar_at(with_override(text, "rules.0={keep: recompute}"), "rules.0.keep") == "recompute");
  CHECK(scalar_at(with_override(text, "list=[1, [2, 3]]"), "list.1.1") == "3");
  CHECK(scalar_at(with_override(text, "train.name="), "train.name") == "null");
  CHECK(scalar_at(with_override(text, "train.name=a=b"), "train.name") == "a=b");
}

TEST_CASE("defects of an override are one line with its key", "[config]") {
  const auto check = [](std::string_view assignment, const std::string& message) {
    ConfigNode root = parse_config("train: {steps: 5}\nrules: [{keep: exact}]\n", "a.yaml");
    CHECK_THROWS_AS(apply_override(root, assignment), ConfigError);
    CHECK_THROWS_WITH(apply_override(root, assignment), message);
  };
  check("train.steps", "--set train.steps: expected KEY=VALUE, such as train.steps=100");
  check("=5", "--set =5: expected KEY=VALUE, such as train.steps=100");
  check("train..steps=5", "--set train..steps=5: expected KEY=VALUE, such as train.steps=100");
  check("train.steps={a: 1, a: 2}", "--set train.steps: key a stands twice in one map");
  check("train.steps.max=5", "--set train.steps.max: train.steps is \"5\", which has no keys");
  check("rules.1.keep=x",
        "--set rules.1.keep: rules has 1 elements; expected an index below that, not 1");
  check("rules.first.keep=x",
        "--set rules.first.keep: rules has 1 elements; expected an index below that, not first");
}

}  // namespace
}  // namespace ghost
