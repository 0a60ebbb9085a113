#include <filesystem>

#include <fmt/format.h>

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

// Sizes that leave the vocabulary to the data get one, where there is text; sweeps are files of
// another kind.
TEST_CASE("every config of the repository can be inspected", "[tools]") {
  const test::TemporaryDirectory dir;
  std::int64_t num_configs = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(GHOST_SOURCE_DIR "/configs")) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".yaml") || path.ends_with(".sweep.yaml")) {
      continue;
    }
    ++num_configs;
    INFO(path);
    const bool reads_text = path.find("/configs/ema/") == std::string::npos;
    const bool has_vocab =
        !reads_text || test::text_of(entry.path()).find("vocab_size: ") != std::string::npos;
    const auto outcome =
        test::run_program(dir, "inspect " + path + (has_vocab ? "" : " --set model.vocab_size=65"));
    INFO(outcome.err);
    CHECK(outcome.code == 0);
  }
  CHECK(num_configs >= 40);
}

TEST_CASE("inspect plans the models of the LBI paper", "[tools]") {
  const test::TemporaryDirectory dir;
  const std::pair<const char*, const char*> kTotals[] = {{"mamba2/lbi_canonical", "75,906,032"},
                                                         {"mamba3/lbi_canonical", "78,093,728"},
                                                         {"hybrid/lbi_canonical", "85,545,648"},
                                                         {"hybrid/lbi_transformer", "63,631,872"}};
  for (const auto& [name, total] : kTotals) {
    INFO(name);
    const auto outcome =
        test::run_program(dir, fmt::format("inspect {}/configs/{}.yaml", GHOST_SOURCE_DIR, name));
    CHECK_THAT(outcome.out, contains_text(total));
  }
}

TEST_CASE("inspect refuses what is not there", "[tools]") {
  const test::TemporaryDirectory dir;
  test::check_refused(dir, "inspect none.yaml", 2,
                      "cannot read none.yaml: No such file or directory");
}

}  // namespace
}  // namespace ghost
