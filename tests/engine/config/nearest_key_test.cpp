#include "engine/config/nearest_key.h"

#include <vector>

#include "tests/support/catch.h"

namespace ghost {
namespace {

const std::vector<std::string> kKeys = {
    "train.steps", "train.seed",        "optimizer.warmup_steps", "optimizer.beta1",
    "model.heads", "model.head_dim",    "optimizer.beta2",        "run.dir",
    "model.x",     "optimizer.schedule"};

std::string nearest(std::string_view unknown) {
  return nearest_key(unknown, kKeys).value_or("nothing");
}

TEST_CASE("the nearest key is the one that was probably meant", "[config]") {
  CHECK(nearest("optimizer.warmup") == "optimizer.warmup_steps");
  CHECK(nearest("train.stpes") == "train.steps");
  CHECK(nearest("train.Seed") == "train.seed");
  CHECK(nearest("optimizer.beta2x") == "optimizer.beta2");
  CHECK(nearest("model.head") == "model.heads");
  CHECK(nearest("model.steps") == "train.steps");
  CHECK(nearest("beta1") == "optimizer.beta1");
}

TEST_CASE("no key is offered when none is near", "[config]") {
  CHECK(nearest("train.batch_size") == "nothing");
  CHECK(nearest("model.y") == "nothing");
  CHECK(nearest("train.") == "nothing");
  CHECK(nearest("optimiser.warmup") == "nothing");
}

}  // namespace
}  // namespace ghost
