#include "tools/train/checkpoint_writer.h"

#include <fstream>

#include "engine/comm/self_communicator.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

Tensor filled(const Shape& shape, double value) {
  Tensor out(make_allocator(Device{}), shape, DType::kF32, MemoryTag::kParameters);
  fill(out, value);
  return out;
}

TEST_CASE("a checkpoint in the background holds what the tensors were", "[tools]") {
  const TemporaryDirectory dir;
  SelfCommunicator world;
  RankGrid grid(world, 1);
  const CheckpointDirectory directory(dir / "checkpoints");
  const Tensor weight = filled({300, 70}, 0);
  {
    CheckpointWriter writer(directory, {.keep_last = 2}, grid);
    CHECK(writer.snapshot_bytes() == 0);
    for (std::int64_t step = 1; step <= 4; ++step) {
      fill(weight, static_cast<double>(step));
      writer.save({.architecture = "a", .step = step}, {{"weight", weight}},
                  {{"moment", step < 4 ? weight : filled({5}, 9)}},
                  CheckpointWriter::When::kInBackground);
      fill(weight, -1);
    }
    // Two copies in the same places, and the moment of another shape.
    CHECK(writer.snapshot_bytes() < 3 * 300 * 70 * 4);
    CHECK(writer.num_writers() == 1);
    writer.finish();
    CHECK_FALSE(writer.is_written());
    CHECK(directory.list().size() == 2);
    fill(weight, 5);
    writer.save({.architecture = "a", .step = 5}, {{"weight", weight}}, {{"moment", weight}},
                CheckpointWriter::When::kNow);
    CHECK(directory.newest()->filename() == "step-000005");
    writer.save({.architecture = "a", .step = 6}, {{"weight", weight}}, {{"moment", weight}},
                CheckpointWriter::When::kInBackground);
  }
  CHECK(directory.newest()->filename() == "step-000006");  // the destructor waits
  const Tensor read = filled({300, 70}, 0);
  for (const std::int64_t step : {5, 6}) {
    const auto path = dir / fmt::format("checkpoints/step-{:06}", step);
    CHECK(load_model(path, "a", std::vector<NamedTensor>{{"weight", read}}).step == step);
    CHECK(read.data<float>()[12345] == 5);
  }
}

TEST_CASE("a checkpoint that fails in the background is reported once", "[tools]") {
  const TemporaryDirectory dir;
  SelfCommunicator world;
  RankGrid grid(world, 1);
  dir.write("file", "not a directory");
  const Tensor weight = filled({3}, 1);
  CheckpointWriter writer(CheckpointDirectory(dir / "file"), {}, grid);
  const auto save = [&](std::int64_t step) {
    writer.save({.architecture = "a", .step = step}, {{"weight", weight}}, {},
                CheckpointWriter::When::kInBackground);
  };
  const std::string message =
      (dir / "file/.step-000001.tmp").string() + ": cannot create the directory: Not a directory";
  save(1);
  CHECK_THROWS_WITH(writer.finish(), message);
  CHECK_NOTHROW(writer.finish());
  save(1);
  CHECK_THROWS_WITH(save(2), message);
}

TEST_CASE("checkpoints are the same bytes from the background", "[tools]") {
  const TemporaryDirectory dir;
  test::train_tiny_run(dir);
  for (const std::string place : {"true", "false"}) {
    const auto outcome =
        run_program(dir,
                    "train tiny.yaml --set monitor.every=2 --set checkpoint.every=1 --set "
                    "checkpoint.keep_last=9 --set run.dir=" +
                        place + " --set checkpoint.background=" + place);
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK((outcome.out.find("checkpoints are written in the background, from a copy of ") !=
           std::string::npos) == (place == "true"));
  }
  for (int step = 1; step <= 6; ++step) {
    for (const char* file : {"model", "optimizer"}) {
      const std::string path = fmt::format("/checkpoints/step-{:06}/{}.safetensors", step, file);
      INFO(path);
      const std::string expected = text_of(dir / ("false" + path));
      CHECK_FALSE(expected.empty());
      CHECK(text_of(dir / ("true" + path)) == expected);
    }
  }
}

}  // namespace
}  // namespace ghost
