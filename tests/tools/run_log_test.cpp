#include "tools/report/run_log.h"

#include <cmath>
#include <filesystem>
#include <string>

#include "engine/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

/// A run directory with the given metrics.
class RunDir {
 public:
  explicit RunDir(const std::string& metrics) { directory_.write("metrics.jsonl", metrics); }

  const std::filesystem::path& path() const { return directory_.path(); }
  std::string file() const { return (directory_ / "metrics.jsonl").string(); }
  void write_config(const std::string& text) const { directory_.write("config.yaml", text); }

 private:
  test::TemporaryDirectory directory_;
};

const std::string kStart =
    R"({"kind":"start","run":"tiny","model":"gpt","parameters":1000,"peak_flops":null,)"
    R"("device":"cpu","threads":2,"dtype":"f32","tokens_per_step":64,"steps":4})"
    "\n";

std::string train_line(int step, const std::string& loss, double ms = 10) {
  return R"({"kind":"train","step":)" + std::to_string(step) + R"(,"loss":)" + loss +
         R"(,"lr":0.1,"grad_norm":1,"ms_per_step":)" + std::to_string(ms) +
         R"(,"tokens_per_s":6400,"tokens":)" + std::to_string(64 * step) + "}\n";
}

std::string eval_line(int step, const std::string& loss) {
  return R"({"kind":"eval","step":)" + std::to_string(step) + R"(,"val_loss":)" + loss +
         R"(,"batches":2,"best":true})" + "\n";
}

TEST_CASE("a run log holds facts, steps, evaluations, events and config", "[report]") {
  const RunDir dir(kStart + train_line(1, "3.5") + train_line(2, "3.0") + eval_line(2, "3.1") +
                   R"({"kind":"event","step":2,"event":"checkpoint","detail":"step-2"})" + "\n" +
                   R"({"kind":"monitor","step":2,"rank":7})" + "\n");
  dir.write_config("train:\n  steps: 4\n");
  const RunLog log = read_run_log(dir.path());
  CHECK(log.facts.name == "tiny");
  CHECK(log.facts.parameters == 1000);
  CHECK(std::isnan(log.facts.peak_flops));
  REQUIRE(log.train.size() == 2);
  CHECK(log.train[1].step == 2);
  CHECK(log.train[1].loss == 3.0);
  CHECK(std::isnan(log.train[1].mfu));
  REQUIRE(log.evals.size() == 1);
  CHECK(std::isnan(log.evals[0].train_loss));
  REQUIRE(log.events.size() == 1);
  CHECK(log.events[0].detail == "step-2");
  CHECK(log.config == "train:\n  steps: 4\n");
  CHECK_FALSE(log.has_torn_end);
  CHECK(seconds_in_steps(log) == Approx(0.020));
  CHECK(median_of(log, &TrainPoint::tokens_per_s) == 6400);
  CHECK(std::isnan(median_of(log, &TrainPoint::mfu)));
}

TEST_CASE("memory is the largest peak of any line, in the order of the file", "[report]") {
  const auto line = [](int step, int residuals, int reserved) {
    return R"({"kind":"train","step":)" + std::to_string(step) +
           R"(,"loss":1,"memory":{"residuals":{"current":1,"peak":)" + std::to_string(residuals) +
           R"(},"batch":{"current":0,"peak":5}},"reserved":)" + std::to_string(reserved) + "}\n";
  };
  const RunDir dir(kStart + line(1, 70, 100) + line(2, 90, 200) + line(3, 80, 150));
  const RunLog log = read_run_log(dir.path());
  REQUIRE(log.memory.size() == 2);
  CHECK(log.memory[0].tag == "residuals");
  CHECK(log.memory[0].peak_bytes == 90);
  CHECK(log.memory[1].tag == "batch");
  CHECK(log.memory[1].peak_bytes == 5);
  CHECK(log.reserved_bytes == 200);
}

TEST_CASE("steps that a resumed run repeats count once, the later time", "[report]") {
  const RunDir dir(kStart + train_line(1, "3.5") + train_line(2, "3.0") + eval_line(2, "2.0") +
                   train_line(3, "9.0") + train_line(2, "2.9") + eval_line(2, "2.8"));
  const RunLog log = read_run_log(dir.path());
  REQUIRE(log.train.size() == 2);
  CHECK(log.train[1].loss == 2.9);
  REQUIRE(log.evals.size() == 1);
  CHECK(log.evals[0].val_loss == 2.8);
  CHECK(log.repeated_lines == 3);
}

TEST_CASE("the best evaluation is the lowest finite one", "[report]") {
  const RunDir dir(kStart + eval_line(1, "3.0") + eval_line(2, "null") + eval_line(3, "2.5") +
                   eval_line(4, "2.7"));
  const RunLog log = read_run_log(dir.path());
  REQUIRE(best_eval(log) != nullptr);
  CHECK(best_eval(log)->step == 3);
  CHECK(best_eval(RunLog{}) == nullptr);
}

TEST_CASE("a line stands for all steps since the line before", "[report]") {
  const RunDir dir(kStart + train_line(1010, "1", 100) + train_line(1020, "1", 200));
  CHECK(seconds_in_steps(read_run_log(dir.path())) == Approx(3.0));
  CHECK(std::isnan(seconds_in_steps(RunLog{})));
}

TEST_CASE("a torn last line is left out and noted", "[report]") {
  const RunDir dir(kStart + train_line(1, "3.5") + R"({"kind":"train","st)");
  const RunLog log = read_run_log(dir.path());
  CHECK(log.train.size() == 1);
  CHECK(log.has_torn_end);
}

TEST_CASE("a bad line before the end is an error with its place", "[report]") {
  const RunDir dir(kStart + "{\"kind\":\"train\",\"st\n" + train_line(2, "3"));
  CHECK_THROWS_WITH(read_run_log(dir.path()),
                    dir.file() +
                        ":2: {\"kind\":\"train\",\"st is not a line of a run; expected a JSON "
                        "object with a key kind");
}

TEST_CASE("wrong types are errors that name file, line and key", "[report]") {
  const auto message = [](const std::string& line) {
    const RunDir dir(kStart + line + "\n");
    try {
      read_run_log(dir.path());
    } catch (const Error& error) {
      const std::string text = error.what();
      const std::string place = dir.file() + ":2: ";
      return text.substr(0, place.size()) == place ? text.substr(place.size()) : text;
    }
    return std::string("no error");
  };
  CHECK(message(R"({"kind":"train","step":1,"loss":"low"})") ==
        "key loss is \"low\"; expected a number or null");
  CHECK(message(R"({"kind":"train","loss":1})") == "key step is missing");
  CHECK(message(R"({"kind":"train","step":-1})") ==
        "key step is -1; expected an integer of 0 or more");
  CHECK(message(R"({"kind":"event","step":1,"event":7})") == "key event is 7; expected a string");
  CHECK(message(R"({"kind":"train","step":1,"memory":3})") ==
        "key memory is 3; expected an object");
  CHECK(message(R"({"kind":"train","step":1,"memory":{"batch":3}})") ==
        "key memory.batch is 3; expected an object");
  CHECK(message(R"({"kind":"train","step":1,"memory":{"batch":{"peak":"x"}}})") ==
        "memory.batch: key peak is \"x\"; expected a number or null");
  CHECK(message("[1, 2]") ==
        "[1, 2] is not a line of a run; expected a JSON object with a key kind");
}

TEST_CASE("a directory without metrics, or with none yet, is no run", "[report]") {
  CHECK_THROWS_WITH(read_run_log("nowhere/at_all"),
                    "nowhere/at_all/metrics.jsonl: not found; expected a run directory with "
                    "metrics.jsonl in it");
  const RunDir empty("");
  CHECK_THROWS_WITH(read_run_log(empty.path()),
                    empty.file() + ": holds no complete line; expected the start line of a run");
}

}  // namespace
}  // namespace ghost
