#include <fmt/format.h>

#include "tests/support/catch.h"
#include "tests/tools/program.h"
#include "tools/run/run_config.h"

namespace ghost {
namespace {

struct Backbone {
  const char* name;
  std::int64_t layers;
  double weight_decay;
  std::int64_t warmup_steps;
  double peaks[4];            // dense, r 16, r 32, r 64
  const char* parameters[4];  // with the paper's vocabulary
};

// As the launchers of the paper set them; blocks, embedding, final norm and interfaces counted from
// these.
constexpr Backbone kBackbones[] = {
    {"mamba2",
     14,
     0.03,
     1000,
     {8e-4, 8e-4, 8e-4, 8e-4},
     {"75,906,032", "84,954,967", "85,139,639", "85,508,983"}},
    {"mamba3",
     14,
     0.03,
     500,
     {6e-4, 3e-4, 3e-4, 3e-4},
     {"78,093,728", "87,142,663", "87,327,335", "87,696,679"}},
    {"transformer",
     12,
     0.01,
     1000,
     {6e-4, 6e-4, 6e-4, 6e-4},
     {"63,631,872", "67,156,278", "67,263,078", "67,476,678"}},
    {"hybrid",
     12,
     0.03,
     500,
     {6e-4, 6e-4, 3e-4, 3e-4},
     {"85,545,648", "93,388,006", "93,548,054", "93,868,150"}},
};
constexpr const char* kKinds[] = {"dense", "r16", "r32", "r64"};

std::string file_of(const Backbone& backbone, const char* kind) {
  return fmt::format("{}/configs/lbi/paper_{}_{}.yaml", GHOST_SOURCE_DIR, backbone.name, kind);
}

TEST_CASE("configs of the paper's runs have its settings", "[tools]") {
  for (const Backbone& backbone : kBackbones) {
    for (std::size_t kind = 0; kind < 4; ++kind) {
      const std::string file = file_of(backbone, kKinds[kind]);
      INFO(file);
      const Config config = load_run_config(file, {});
      CHECK(config.schedule.peak == backbone.peaks[kind]);
      CHECK(config.schedule.warmup_steps == backbone.warmup_steps);
      CHECK(config.schedule.kind == ScheduleKind::kCosine);
      CHECK(config.schedule.final_fraction == 0.1);
      CHECK(config.optimizer.weight_decay == backbone.weight_decay);
      CHECK(config.optimizer.beta1 == 0.9);
      CHECK(config.optimizer.beta2 == 0.999);
      CHECK(config.optimizer.eps == 1e-8);
      CHECK(config.optimizer.grad_clip == 1);
      CHECK(config.train.steps == 20000);
      CHECK(config.train.batch_size == 1);
      CHECK(config.train.seq_len == 1024);
      CHECK(config.data.sampler == SamplerKind::kRandom);
      CHECK(config.eval.every == 200);
      CHECK(config.eval.batches == 4);
      CHECK(config.model.layers() == backbone.layers);
      CHECK(config.model.hybrid.decay_all);
      CHECK(config.model.hybrid.tied_head);
      CHECK_FALSE(config.model.hybrid.rescale_out_proj);
      CHECK(config.model.vocab_size() == 50257);
      REQUIRE(config.model.regions.has_value() == (kind > 0));
      if (kind > 0) {
        CHECK(config.model.regions->layers_per_region == 2);
        CHECK(config.model.regions->state_dim == std::int64_t{8} << kind);
        CHECK(config.model.regions->hidden == 0);
        CHECK(config.model.regions->update_scale == 0.5);
        CHECK(config.model.regions->variant == RegionsVariant::kPaper);
      }
    }
    const Config control = load_run_config(file_of(backbone, "two_layers"), {});
    CHECK(control.model.layers() == 2);
    const HybridConfig dense = load_run_config(file_of(backbone, "dense"), {}).model.as_hybrid();
    for (std::int64_t layer = 0; layer < 2; ++layer) {  // those of the last region
      CHECK(control.model.as_hybrid().layer_types.at(layer) ==
            dense.layer_types.at(backbone.layers - 2 + layer));
    }
  }
}

TEST_CASE("models of the paper's runs have its numbers of parameters", "[tools]") {
  const test::TemporaryDirectory dir;
  for (const Backbone& backbone : kBackbones) {
    for (std::size_t kind = 0; kind < 4; ++kind) {
      const std::string file = file_of(backbone, kKinds[kind]);
      INFO(file);
      const auto outcome =
          test::run_program(dir, "inspect " + file + " --set model.vocab_size=32000");
      CHECK_THAT(outcome.out, test::contains_text(backbone.parameters[kind]));
    }
  }
}

}  // namespace
}  // namespace ghost
