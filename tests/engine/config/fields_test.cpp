#include "engine/config/fields.h"

#include <limits>

#include "engine/config/check_range.h"
#include "tests/support/catch.h"

namespace ghost {

enum class ScheduleKind { kConstant, kLinear, kCosine, kWsd };

template <>
struct EnumNames<ScheduleKind> {
  static constexpr EnumName<ScheduleKind> kNames[] = {
      {ScheduleKind::kConstant, "constant"},
      {ScheduleKind::kLinear, "linear"},
      {ScheduleKind::kCosine, "cosine"},
      {ScheduleKind::kWsd, "wsd"},
  };
};

namespace {

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 3e-4;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("kind", kind, "shape after warmup");
    visit("peak", peak, "peak learning rate, > 0");
  }
  void validate(const std::string& prefix) const {
    check_range(peak > 0, prefix + "peak", peak, "a positive number");
    check_range(kind != ScheduleKind::kWsd, prefix + "kind", kind, "a kind that is done");
  }
  bool operator==(const ScheduleConfig&) const = default;
};

struct RuleConfig {
  std::string module = "*";
  std::optional<std::int64_t> rank;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("module", module, "glob over module paths");
    visit("rank", rank, "");
  }
  void validate(const std::string& prefix) const {
    check_range(!rank || *rank > 0, prefix + "rank", rank.value_or(0), "a positive integer");
    check_range(!module.empty(), prefix + "module", module, "a glob");
  }
  bool operator==(const RuleConfig&) const = default;
};

struct RunConfig {
  std::string name;
  std::int64_t steps = 5000;
  bool compile = false;
  std::optional<double> clip = 1.0;
  std::vector<double> betas = {0.9, 0.95};
  std::vector<bool> flags;
  std::vector<ScheduleKind> kinds;
  ScheduleConfig schedule;
  std::vector<RuleConfig> rules;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("name", name, "of the run directory");
    visit("steps", steps, "optimizer steps, > 0");
    visit("compile", compile, "");
    visit("clip", clip, "global norm");
    visit("betas", betas, "of AdamW");
    visit("flags", flags, "");
    visit("kinds", kinds, "");
    visit("schedule", schedule, "learning rate");
    visit("rules", rules, "first match wins");
  }
  void validate(const std::string& prefix) const {
    check_range(steps > 0, prefix + "steps", steps, "a positive integer");
  }
  bool operator==(const RunConfig&) const = default;
};

RunConfig read(std::string_view text) {
  return read_config<RunConfig>(parse_config(text, "a.yaml"));
}

void check_refused(std::string_view text, const std::string& message) {
  INFO(text);
  CHECK_THROWS_AS(read(text), ConfigError);
  CHECK_THROWS_WITH(read(text), message);
}

TEST_CASE("a config without keys is its defaults", "[config]") {
  CHECK(read("") == RunConfig{});
  CHECK(read("schedule:\n") == RunConfig{});  // all of the section commented out
}

TEST_CASE("every type of member is read", "[config]") {
  const RunConfig config = read(
      "name: run 1\n"
      "steps: 6e5\n"
      "compile: true\n"
      "clip: ~\n"
      "betas: [1, 0.5, .inf]\n"
      "flags: [true, false]\n"
      "kinds: [wsd, constant]\n"
      "schedule: {kind: linear, peak: 1e-3}\n"
      "rules:\n"
      "  - {module: 'blocks.*', rank: 32}\n"
      "  - rank: null\n");
  const RunConfig expected{
      .name = "run 1",
      .steps = 600000,
      .compile = true,
      .clip = std::nullopt,
      .betas = {1.0, 0.5, std::numeric_limits<double>::infinity()},
      .flags = {true, false},
      .kinds = {ScheduleKind::kWsd, ScheduleKind::kConstant},
      .schedule = {.kind = ScheduleKind::kLinear, .peak = 1e-3},
      .rules = {{.module = "blocks.*", .rank = 32}, {.module = "*", .rank = std::nullopt}}};
  CHECK(config == expected);
}

TEST_CASE("integers reach the ends of 64 bits", "[config]") {
  CHECK(read("steps: 9223372036854775807").steps == std::numeric_limits<std::int64_t>::max());
  CHECK(read("steps: 9007199254740993").steps == 9007199254740993);
  CHECK(read("steps: 1.0").steps == 1);
}

TEST_CASE("a key that looks like a number may be a text", "[config]") {
  CHECK(read("name: 124").name == "124");
  CHECK(read("name: true").name == "true");
  CHECK(read("name: 'null'").name == "null");
}

TEST_CASE("unknown keys name the line and the nearest key", "[config]") {
  check_refused("\nstepz: 1", "a.yaml:2: unknown key stepz; did you mean steps?");
  check_refused("schedule:\n  peek: 1\n",
                "a.yaml:2: unknown key schedule.peek; did you mean schedule.peak?");
  check_refused("sched: {}", "a.yaml:1: unknown key sched; did you mean schedule?");
  check_refused("peak: 1", "a.yaml:1: unknown key peak; did you mean schedule.peak?");
  check_refused("schedule:\n  steps: 1\n",
                "a.yaml:2: unknown key schedule.steps; did you mean steps?");
  check_refused("rules:\n  - module: x\n  - ranks: 2\n",
                "a.yaml:3: unknown key rules.1.ranks; did you mean rules.1.rank?");
  check_refused("optimizer:\n  eps: 1\n", "a.yaml:1: unknown key optimizer");
  check_refused("schedule.peak: 1\n",
                "a.yaml:1: unknown key schedule.peak; keys with dots are for --set, in YAML "
                "sections nest");
  ConfigNode root = parse_config("", "a.yaml");
  apply_override(root, "schedule.peek=1");
  CHECK_THROWS_WITH(read_config<RunConfig>(root),
                    "--set schedule.peek: unknown key schedule.peek; did you mean schedule.peak?");
}

TEST_CASE("wrong types name the line, the value and the type", "[config]") {
  check_refused("name: x\nsteps: many", "a.yaml:2: steps is \"many\"; expected an integer");
  check_refused("steps: 1.5", "a.yaml:1: steps is \"1.5\"; expected an integer");
  check_refused("steps: '5'", "a.yaml:1: steps is \"5\"; expected an integer");
  check_refused("steps: 10_000", "a.yaml:1: steps is \"10_000\"; expected an integer");
  check_refused("steps: [5]", "a.yaml:1: steps is a list; expected an integer");
  check_refused("steps:", "a.yaml:1: steps is null; expected an integer");
  check_refused("steps: .inf",
                "a.yaml:1: steps is \".inf\"; expected an integer of 64 bits, or of 53 bits when "
                "written as a float");
  check_refused("steps: 9223372036854775808",
                "a.yaml:1: steps is \"9223372036854775808\"; expected an integer of 64 bits, or of "
                "53 bits when written as a float");
  check_refused("compile: yes", "a.yaml:1: compile is \"yes\"; expected true or false");
  check_refused("clip: nan", "a.yaml:1: clip is \"nan\"; expected a number");
  check_refused("clip: 1e999", "a.yaml:1: clip is \"1e999\"; expected a number");
  check_refused("name: {a: 1}", "a.yaml:1: name is a map; expected a text");
  check_refused("betas: 0.9", "a.yaml:1: betas is \"0.9\"; expected a list");
  check_refused("betas:\n - 0.9\n - x\n", "a.yaml:3: betas.1 is \"x\"; expected a number");
  check_refused("schedule: cosine", "a.yaml:1: schedule is \"cosine\"; expected a map");
  check_refused("rules: {a: 1}", "a.yaml:1: rules is a map; expected a list of maps");
  check_refused("rules:\n  - 5\n", "a.yaml:2: rules.0 is \"5\"; expected a map");
  check_refused("schedule:\n  peak: 1\n  kind: cosin",
                "a.yaml:3: schedule.kind is \"cosin\"; expected one of constant, linear, cosine, "
                "wsd");
  check_refused("schedule: {kind: [wsd]}",
                "a.yaml:1: schedule.kind is a list; expected one of constant, linear, cosine, wsd");
}

TEST_CASE("ranges are checked in every section and name the line", "[config]") {
  check_refused("name: x\nsteps: 0", "a.yaml:2: steps is 0; expected a positive integer");
  check_refused("schedule:\n  peak: -1",
                "a.yaml:2: schedule.peak is -1; expected a positive number");
  check_refused("schedule:\n  kind: wsd",
                "a.yaml:2: schedule.kind is wsd; expected a kind that is done");
  check_refused("rules:\n  - module: x\n  - module: y\n    rank: 0\n",
                "a.yaml:4: rules.1.rank is 0; expected a positive integer");
  check_refused("rules:\n  - module: ''\n", "a.yaml:2: rules.0.module is \"\"; expected a glob");
}

struct Required {
  struct Data {
    std::string path;

    template <class Visit>
    void each_field(Visit&& visit) {
      visit("path", path, "");
    }
    void validate(const std::string& prefix) const {
      check_range(!path.empty(), prefix + "path", path, "a file");
    }
  } data;
  bool shuffle = true;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("data", data, "");
    visit("shuffle", shuffle, "");
  }
};

TEST_CASE("a required key that is absent is reported where its section stands", "[config]") {
  const auto message = [](std::string_view text) -> std::string {
    try {
      read_config<Required>(parse_config(text, "a.yaml"));
    } catch (const RangeError& error) {
      CHECK(error.key() == "data.path");
      return error.what();
    }
    return "no error";
  };
  CHECK(message("") == "data.path is \"\"; expected a file");
  CHECK(message("shuffle: true\ndata:\n") == "a.yaml:2: data.path is \"\"; expected a file");
}

TEST_CASE("a section is read by itself under its own name", "[config]") {
  const ConfigNode root = parse_config("schedule:\n  peak: 0\n  kynd: wsd\n", "a.yaml");
  CHECK_THROWS_WITH(read_section<ScheduleConfig>(*root.find("schedule"), "schedule"),
                    "a.yaml:3: unknown key schedule.kynd; did you mean schedule.kind?");
  const ConfigNode range = parse_config("schedule:\n  kind: linear\n  peak: 0\n", "a.yaml");
  CHECK_THROWS_WITH(read_section<ScheduleConfig>(*range.find("schedule"), "schedule"),
                    "a.yaml:3: schedule.peak is 0; expected a positive number");
}

struct Shaped {
  bool is_round = false;
  std::int64_t radius = 1;
  std::int64_t side = 2;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("round", is_round, "");
    is_round ? visit("radius", radius, "") : visit("side", side, "");
  }
  void choose_fields(const ConfigNode& root) {
    const ConfigNode* round = root.find("round");
    is_round = round != nullptr && round->scalar == "true";
  }
};

TEST_CASE("fields may hang on what the file says", "[config]") {
  const auto read = [](std::string_view text) {
    return read_config<Shaped>(parse_config(text, "a.yaml"));
  };
  CHECK(read("side: 5").side == 5);
  CHECK(read("radius: 5\nround: true").radius == 5);
  CHECK_THROWS_WITH(read("round: true\nside: 5"), "a.yaml:2: unknown key side");
  CHECK_THROWS_WITH(read("round: maybe"), test::contains_text("a.yaml:1: round is \"maybe\""));
  CHECK(describe_config(read("round: true")).find("radius = 1") != std::string::npos);
}

TEST_CASE("a written config reads back to an equal one", "[config]") {
  const RunConfig config{
      .name = "quotes \" \\ # : {} \n\t and \x01, ü",
      .steps = std::numeric_limits<std::int64_t>::max(),
      .compile = true,
      .clip = std::nullopt,
      .betas = {1.0 / 3, 1e-5, 1e300, 5e-324, -0.0, 1, std::numeric_limits<double>::infinity()},
      .flags = {true},
      .kinds = {ScheduleKind::kWsd},
      .schedule = {.kind = ScheduleKind::kLinear, .peak = 0.1 + 0.2},
      .rules = {{.module = "x", .rank = 3}, {.module = "blocks.*", .rank = std::nullopt}}};
  INFO(write_config(config));
  CHECK(read(write_config(config)) == config);
}

TEST_CASE("texts are quoted where YAML would take them for something else", "[config]") {
  for (const std::string name : {"", "null", "~", "5", "1e5", "- x", "true", "a: b", "a #b", "*x",
                                 "&x", "!x", "---", "x", "/tmp/a-b_c.bin", " x", "@", "`", "%"}) {
    RunConfig named;
    named.name = name;
    INFO(write_config(named));
    CHECK(read(write_config(named)) == named);
  }
}

TEST_CASE("a written config shows every default with its doc", "[config]") {
  RunConfig config;
  config.rules = {RuleConfig{}, {.module = "head", .rank = 4}};
  CHECK(write_config(config) ==
        "name: \"\"  # of the run directory\n"
        "steps: 5000  # optimizer steps, > 0\n"
        "compile: false\n"
        "clip: 1.0  # global norm\n"
        "betas: [0.9, 0.95]  # of AdamW\n"
        "flags: []\n"
        "kinds: []\n"
        "schedule:  # learning rate\n"
        "  kind: cosine  # shape after warmup\n"
        "  peak: 0.0003  # peak learning rate, > 0\n"
        "rules:  # first match wins\n"
        "  - module: \"*\"  # glob over module paths\n"
        "    rank: null\n"
        "  - module: head  # glob over module paths\n"
        "    rank: 4\n");
  CHECK(write_config(RunConfig{}).ends_with("rules: []  # first match wins\n"));
}

TEST_CASE("doubles are written as numbers of every YAML version", "[config]") {
  CHECK(write_value(1.0) == "1.0");
  CHECK(write_value(1e-5) == "1.0e-05");
  CHECK(write_value(1.5e-5) == "1.5e-05");
  CHECK(write_value(-std::numeric_limits<double>::infinity()) == "-.inf");
}

TEST_CASE("help lists keys, defaults, docs and types", "[config]") {
  CHECK(describe_config<RunConfig>() ==
        "name = \"\"               of the run directory [text]\n"
        "steps = 5000            optimizer steps, > 0 [integer]\n"
        "compile = false         [boolean]\n"
        "clip = 1.0              global norm [number or null]\n"
        "betas = [0.9, 0.95]     of AdamW [list of number]\n"
        "flags = []              [list of boolean]\n"
        "kinds = []              [list of constant | linear | cosine | wsd]\n"
        "schedule                learning rate\n"
        "schedule.kind = cosine  shape after warmup [constant | linear | cosine | wsd]\n"
        "schedule.peak = 0.0003  peak learning rate, > 0 [number]\n"
        "rules                   first match wins\n"
        "rules.N.module = \"*\"    glob over module paths [text]\n"
        "rules.N.rank = null     [integer or null]\n");
}

}  // namespace
}  // namespace ghost
