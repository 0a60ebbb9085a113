#include "models/hybrid/layer_types.h"

#include "engine/config/config_tree.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

constexpr LayerType kM2 = LayerType::kMamba2;
constexpr LayerType kM3 = LayerType::kMamba3;
constexpr LayerType kA = LayerType::kAttention;

std::vector<LayerType> read(const std::string& text) {
  const ConfigNode root = parse_config("layer_types: " + text, "a.yaml");
  LayerTypes value;
  read_value(*root.find("layer_types"), "model.layer_types", value);
  return value.pattern;
}

TEST_CASE("layers are named in a list or in short", "[models]") {
  CHECK(read("mamba2") == std::vector{kM2});
  CHECK(read("3*mamba3 + attention") == std::vector{kM3, kM3, kM3, kA});
  CHECK(read("2 * mamba2+mamba3 + 1*attention") == std::vector{kM2, kM2, kM3, kA});
  CHECK(read("[mamba3, mamba3, attention]") == std::vector{kM3, kM3, kA});
}

TEST_CASE("layers are written in short", "[models]") {
  for (const char* text : {"mamba2", "3*mamba3 + attention", "mamba2 + 2*attention + mamba2"}) {
    const LayerTypes types{read(text)};
    CHECK(write_value(types).find(text) != std::string::npos);
    CHECK(read(write_value(types)) == types.pattern);
  }
}

TEST_CASE("a pattern is repeated", "[models]") {
  const LayerTypes types{{kM3, kM3, kA}};
  CHECK(types.at(2) == kA);
  CHECK(types.at(4) == kM3);
  CHECK(types.at(5) == kA);
}

TEST_CASE("layers that there are not are refused", "[models]") {
  const std::string expected =
      "; expected counts and names of mamba2, mamba3, attention, as 3*mamba3 + attention, or a "
      "list "
      "of them";
  for (const std::string text : {"mamba4", "0*mamba2", "-1*mamba2", "mamba2 +", "2 mamba2",
                                 "mamba2*2", "1001*mamba2", "3.5*mamba2"}) {
    CHECK_THROWS_WITH(read("\"" + text + "\""),
                      "a.yaml:1: model.layer_types is \"" + text + "\"" + expected);
  }
  CHECK_THROWS_WITH(read("[]"), test::contains_text(expected));
  CHECK_THROWS_WITH(read("{a: b}"), "a.yaml:1: model.layer_types is a map" + expected);
  CHECK_THROWS_WITH(read("[mamba2, lstm]"),
                    "a.yaml:1: model.layer_types.1 is \"lstm\"; expected one of mamba2, mamba3, "
                    "attention");
}

}  // namespace
}  // namespace ghost
