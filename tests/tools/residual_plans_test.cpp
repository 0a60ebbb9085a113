#include "tools/inspect/residual_plans.h"

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

Config small_config() {
  Config config;
  config.model.gpt = {.layers = 12,
                      .heads = 4,
                      .channels = 64,
                      .max_seq_len = 128,
                      .vocab_size = 128,
                      .bias = true};
  config.train.batch_size = 8;
  config.train.seq_len = 128;
  config.residuals.sketch.rank_fraction = 1.0 / 16;
  return config;
}

std::int64_t peak_of(const std::string& name) {
  for (const NamedPlan& plan : named_plans(small_config(), 0)) {
    if (plan.name == name) {
      return plan.memory.total_peak;
    }
  }
  FAIL("no plan " << name);
  return 0;
}

std::string resolved(const std::string& budget, bool allow_approximate) {
  Config config = small_config();
  config.residuals.preset = ResidualPreset::kAuto;
  config.residuals.memory_budget = budget;
  config.residuals.allow_approximate = allow_approximate;
  std::string note;
  resolve_residuals(config, 0, &note);
  return note;
}

TEST_CASE("auto takes the fastest exact plan that fits", "[tools]") {
  CHECK_THAT(resolved("100 GiB", false), test::contains_text("exact, recompute: none"));
  CHECK_THAT(resolved("100 GiB", true), test::contains_text("exact, recompute: none"));
  const auto just_below = [](const std::string& name) {
    return fmt::format("{}", peak_of(name) - 1);
  };
  // Making outputs of norms and GELU again costs no product.
  CHECK_THAT(resolved(just_below("exact, recompute: none"), false),
             test::contains_text("exact, recompute: cheap"));
  CHECK_THAT(resolved(just_below("exact, recompute: cheap"), false),
             test::contains_text("exact, recompute: block"));
  CHECK_THAT(resolved(just_below("exact, recompute: cheap"), true),
             test::contains_text("exact, recompute: block"));
  CHECK_THAT(resolved(just_below("exact, recompute: block"), true), !test::contains_text("exact"));
}

TEST_CASE("a budget that nothing fits names the smallest plan", "[tools]") {
  CHECK_THROWS_WITH(
      resolved("1 MiB", false),
      test::contains_text("residuals.memory_budget is 1 MiB; the smallest exact plan, "
                          "exact, recompute: block, holds "));
  CHECK_THROWS_WITH(resolved("1 MiB", true), test::contains_text("the smallest plan, "));
}

TEST_CASE("ghost keeps an eighth of the bytes of keeping everything", "[tools]") {
  std::int64_t all = 0;
  std::int64_t ghost = 0;
  for (const NamedPlan& plan : named_plans(small_config(), 0)) {
    all = plan.name == "exact, recompute: none" ? plan.memory.kept_peak : all;
    ghost = plan.name == "ghost" ? plan.memory.kept_peak : ghost;
  }
  CHECK(ghost > 0);
  CHECK(8 * ghost <= all);
}

TEST_CASE("rules that match nothing name the nearest module", "[tools]") {
  Config config = small_config();
  config.residuals.rules = {{.module = "blocks.*.mpl.c_fc", .keep = Keep::kSketch}};
  CHECK_THROWS_WITH(
      resolve_residuals(config, 0, nullptr),
      "residuals.rules.0.module is \"blocks.*.mpl.c_fc\"; it matches no module with a "
      "residual of role linear_input; did you mean blocks.*.mlp.c_fc?");
  config.residuals.rules = {{.module = "blocks.*.mlp.gelu", .role = "norm_input"}};
  CHECK_THROWS_WITH(resolve_residuals(config, 0, nullptr),
                    test::contains_text("no module with a residual of role norm_input"));
  config.residuals.rules = {{.module = "blocks.*", .role = "block_input", .keep = Keep::kInt8}};
  CHECK_NOTHROW(resolve_residuals(config, 0, nullptr));
}

TEST_CASE("bad sketch options are refused with the key and what was expected", "[tools]") {
  const test::TemporaryDirectory dir;
  const std::string inspect =
      "inspect " GHOST_SOURCE_DIR "/configs/gpt/gpt2_124m_fineweb.yaml --set residuals.";
  const auto refused = [&](const std::string& set, const std::string& message) {
    INFO(set);
    const auto outcome = test::run_program(dir, inspect + set);
    CHECK(outcome.code == 2);
    CHECK_THAT(outcome.err, test::contains_text(message));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
    CHECK(outcome.out.empty());
  };
  refused("sketch.rank=0", "residuals.sketch.rank is 0; expected at least 1");
  refused("sketch.rank_fraction=1.5",
          "residuals.sketch.rank_fraction is 1.5; expected more than 0 and at most 1");
  refused("sketch.hash=random",
          "residuals.sketch.hash is \"random\"; expected one of balanced, independent, windowed");
  refused("preset=bassis", "residuals.preset is \"bassis\"");
  refused("'rules=[{role: norm_input, keep: sketch}]'",
          "residuals.rules.0.role is \"norm_input\"; expected linear_input, the role that can be "
          "kept as a sketch");
  refused("'rules=[{keep: sketch, rank: 0}]'", "residuals.rules.0.rank is 0; expected at least 1");
  refused("default=sketch", "residuals.default is sketch; expected");
  refused("preset=auto", "residuals.preset is auto; expected memory_budget beside it, as 2 GiB");
  refused("memory_budget=lots", "residuals.memory_budget is \"lots\"; expected a number of bytes");
  refused("sketch.schedule=linear", "residuals.sketch.schedule is linear; expected final_rank");
  refused("sketch.sketch=gaussian --set residuals.sketch.center=mean",
          "residuals.sketch.sketch is gaussian; expected count where groups are kept");
  refused("sketch.blocks=4 --set residuals.sketch.center=nearest",
          "residuals.sketch.blocks is 4; expected 1 but for center: nearest with remainder: drop");
  refused("sketch.blocks=0", "residuals.sketch.blocks is 0; expected 1 to 64");
  refused("sketch.refits=-1", "residuals.sketch.refits is -1; expected 0 to 100");
}

}  // namespace
}  // namespace ghost
