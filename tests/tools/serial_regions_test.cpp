#include "tools/train/serial_regions.h"

#include "engine/comm/self_communicator.h"
#include "engine/comm/thread_communicator.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

Config hybrid_config() {
  Config config;
  config.model.gpt = {.layers = 4, .heads = 2, .channels = 16, .max_seq_len = 8};
  config.model.regions.emplace();
  config.model.regions->layers_per_region = 1;
  config.model.regions->state_dim = 4;
  config.model.regions->backward = RegionsBackward::kHybrid;
  config.train.batch_size = 2;
  config.train.seq_len = 8;
  config.parallel.region_ranks = 4;
  return config;
}

TEST_CASE("serial ranks are told by their regions", "[tools]") {
  CHECK(serial_regions_of(/*regions=*/4, /*ranks=*/4, /*serial_ranks=*/0) == 0);
  CHECK(serial_regions_of(4, 4, 1) == 1);
  CHECK(serial_regions_of(4, 4, 3) == 3);
  // Ranks have 1, 2, 2 of five regions: the middle one and the last one's other region.
  CHECK(serial_regions_of(5, 3, 1) == 3);
  CHECK(serial_regions_of(5, 3, 2) == 4);
}

TEST_CASE("ranks choose one number of serial regions from measured times", "[tools][slow]") {
  std::vector<std::int64_t> chosen(4);
  std::vector<std::string> notes(4);
  run_ranks(4, {.timeout = std::chrono::seconds(60)}, [&](Communicator& world) {
    RankGrid grid(world, 4);
    const auto at = static_cast<std::size_t>(world.rank());
    chosen[at] =
        choose_serial_regions(hybrid_config(), /*vocab_size=*/11, Device{}, grid, &notes[at])
            .model.regions->serial_regions.value();
  });
  for (std::size_t rank = 0; rank < chosen.size(); ++rank) {
    CHECK(chosen[rank] == chosen[0]);
    CHECK((chosen[rank] == 0 || chosen[rank] == 1 || chosen[rank] == 3));
    CHECK_THAT(notes[rank], test::contains_text("serial_regions " + std::to_string(chosen[0])));
  }
}

TEST_CASE("serial regions set by hand stay as they are", "[tools]") {
  Config config = hybrid_config();
  config.model.regions->serial_regions = 2;
  SelfCommunicator world;
  RankGrid grid(world, 1);
  std::string note;
  const Config same = choose_serial_regions(config, /*vocab_size=*/11, Device{}, grid, &note);
  CHECK(same.model.regions->serial_regions == 2);
  CHECK(note.empty());
  config.model.regions->serial_regions.reset();  // and in one process nothing has to be chosen
  CHECK(!choose_serial_regions(config, 11, Device{}, grid, &note)
             .model.regions->serial_regions.has_value());
}

}  // namespace
}  // namespace ghost
