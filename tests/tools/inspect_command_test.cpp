#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using test::contains_text;

TEST_CASE("inspect plans GPT-2 124M without allocating it", "[tools]") {
  const test::TemporaryDirectory dir;
  const auto outcome = test::run_program(
      dir,
      "inspect " GHOST_SOURCE_DIR
      "/configs/gpt/gpt2_124m_fineweb.yaml --set train.batch_size=1 --set train.micro_steps=1");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK_THAT(outcome.out, contains_text("124,475,904"));
  CHECK_THAT(outcome.out, contains_text("transformer.h.*.mlp.c_fc"));
  // f32 bytes a token and layer over channels: 64 kept, 40 with cheap outputs made again, 4 for
  // block inputs only.
  CHECK_THAT(outcome.out, contains_text("exact, recompute: none          49152.0       64.00"));
  CHECK_THAT(outcome.out, contains_text("exact, recompute: cheap         30720.0       40.00"));
  CHECK_THAT(outcome.out, contains_text("exact, recompute: block          3072.0        4.00"));
  CHECK_THAT(outcome.out, contains_text("basis                           33792.0       44.00"));
  CHECK_THAT(outcome.out, contains_text("ghost                            3072.0        4.00"));
}

TEST_CASE("inspect refuses what is not there", "[tools]") {
  const test::TemporaryDirectory dir;
  test::check_refused(dir, "inspect none.yaml", 2,
                      "cannot read none.yaml: No such file or directory");
}

}  // namespace
}  // namespace ghost
