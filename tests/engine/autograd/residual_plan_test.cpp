#include "engine/autograd/residual_plan.h"

#include <set>

#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("globs match whole names", "[autograd]") {
  CHECK(glob_match("*", ""));
  CHECK(glob_match("*", "blocks.0.mlp"));
  CHECK(glob_match("blocks.*.mlp.*", "blocks.11.mlp.c_fc"));
  CHECK(glob_match("blocks.?.mlp", "blocks.3.mlp"));
  CHECK(glob_match("a*b*c", "aXbYbZc"));
  CHECK(glob_match("**", "x"));
  CHECK(glob_match("", ""));
  CHECK_FALSE(glob_match("", "x"));
  CHECK_FALSE(glob_match("?", ""));
  CHECK_FALSE(glob_match("blocks.?.mlp", "blocks.11.mlp"));
  CHECK_FALSE(glob_match("mlp", "blocks.0.mlp"));
  CHECK_FALSE(glob_match("blocks", "blocks.0"));
  CHECK_FALSE(glob_match("a*b*c", "aXcYb"));
}

TEST_CASE("every role has a name of its own", "[autograd]") {
  std::set<std::string_view> names;
  for (int role = 0; role <= static_cast<int>(Role::kParameter); ++role) {
    names.insert(role_name(static_cast<Role>(role)));
  }
  CHECK(names.size() == static_cast<std::size_t>(Role::kParameter) + 1);
  CHECK(names.count("") == 0);
  CHECK(role_name(Role::kLinearInput) == "linear_input");
}

TEST_CASE("the last rule that matches wins", "[autograd]") {
  const ResidualPlan plan(
      {.keep = Keep::kBF16,
       .rules = {{.module = "blocks.*", .role = "*", .keep = Keep::kInt8},
                 {.module = "*.mlp.*", .role = "linear_input", .keep = Keep::kExact},
                 {.module = "blocks.0.*", .role = "linear_*", .keep = Keep::kBF16}}});
  const auto keep = [&](std::string_view module, Role role) {
    return plan.keep_for(module, role, /*is_cheap_output=*/false);
  };
  CHECK(keep("head", Role::kLinearInput) == Keep::kBF16);
  CHECK(keep("blocks.1.attn", Role::kAttentionQkv) == Keep::kInt8);
  CHECK(keep("blocks.1.mlp.c_fc", Role::kLinearInput) == Keep::kExact);
  CHECK(keep("blocks.1.mlp.c_fc", Role::kActivationInput) == Keep::kInt8);
  CHECK(keep("blocks.0.mlp.c_fc", Role::kLinearInput) == Keep::kBF16);
}

TEST_CASE("statistics, indices and parameters are always exact", "[autograd]") {
  const ResidualPlan plan({.keep = Keep::kInt8,
                           .rules = {{.module = "*", .role = "*", .keep = Keep::kInt8}},
                           .recompute = Recompute::kCheap});
  for (const Role role : {Role::kStatistic, Role::kIndex, Role::kParameter}) {
    CHECK(plan.keep_for("a", role, /*is_cheap_output=*/true) == Keep::kExact);
  }
}

TEST_CASE("only cheap outputs are recomputed", "[autograd]") {
  const ResidualPlan cheap({.keep = Keep::kBF16, .recompute = Recompute::kCheap});
  CHECK(cheap.keep_for("a", Role::kLinearInput, true) == Keep::kRecompute);
  CHECK(cheap.keep_for("a", Role::kLinearInput, false) == Keep::kBF16);

  // A rule is more particular than `recompute: cheap`.
  const ResidualPlan ruled({.rules = {{.keep = Keep::kInt8}}, .recompute = Recompute::kCheap});
  CHECK(ruled.keep_for("a", Role::kLinearInput, true) == Keep::kInt8);

  const ResidualPlan by_rule({.rules = {{.keep = Keep::kRecompute}}});
  CHECK(by_rule.keep_for("a", Role::kLinearInput, true) == Keep::kRecompute);
  CHECK(by_rule.keep_for("a", Role::kLinearInput, false) == Keep::kExact);

  const ResidualPlan by_default({.keep = Keep::kRecompute});
  CHECK(by_default.keep_for("a", Role::kLinearInput, true) == Keep::kRecompute);
  CHECK(by_default.keep_for("a", Role::kLinearInput, false) == Keep::kExact);
}

TEST_CASE("only activations keep derivatives", "[autograd]") {
  const ResidualPlan plan(
      {.keep = Keep::kDerivative4, .rules = {{.module = "mlp", .keep = Keep::kDerivative8}}});
  for (const bool is_cheap_output : {false, true}) {
    CHECK(plan.keep_for("mlp", Role::kActivationInput, is_cheap_output) == Keep::kDerivative8);
    CHECK(plan.keep_for("mlp", Role::kLinearInput, is_cheap_output) == Keep::kInt8);
    CHECK(plan.keep_for("a", Role::kActivationInput, is_cheap_output) == Keep::kDerivative4);
    CHECK(plan.keep_for("a", Role::kBlockInput, is_cheap_output) == Keep::kInt4);
    CHECK(plan.keep_for("a", Role::kStatistic, is_cheap_output) == Keep::kExact);
  }
}

TEST_CASE("a rule for the derivative of anything else is an error", "[autograd]") {
  const ResidualsConfig refused{.rules = {{}, {.role = "attention_*", .keep = Keep::kDerivative8}}};
  CHECK_THROWS_WITH(
      refused.rules[1].validate("residuals.rules.1."),
      "residuals.rules.1.role is \"attention_*\"; expected activation_input, the role "
      "that has a derivative to keep");
  for (const char* role : {"*", "activation_input", "activation_*"}) {
    const ResidualsConfig accepted{.rules = {{.role = role, .keep = Keep::kDerivative4}}};
    CHECK_NOTHROW(accepted.validate("residuals."));
  }
}

TEST_CASE("a block that runs again keeps the rules and recomputes no more", "[autograd]") {
  const ResidualPlan inner =
      ResidualPlan({.keep = Keep::kInt8, .recompute = Recompute::kBlock, .group = 32})
          .inside_block();
  CHECK(inner.recompute() == Recompute::kNone);
  CHECK(inner.group() == 32);
  CHECK(inner.keep_for("a", Role::kLinearInput, true) == Keep::kInt8);
}

TEST_CASE("approximate keeps are told apart", "[autograd]") {
  CHECK(is_approximate(Keep::kBF16));
  CHECK(is_approximate(Keep::kInt8));
  CHECK(is_approximate(Keep::kInt4));
  CHECK(is_approximate(Keep::kDerivative8));
  CHECK(is_approximate(Keep::kDerivative4));
  CHECK(is_approximate(Keep::kSketch));
  CHECK_FALSE(is_approximate(Keep::kExact));
  CHECK_FALSE(is_approximate(Keep::kRecompute));
}

}  // namespace
}  // namespace ghost
