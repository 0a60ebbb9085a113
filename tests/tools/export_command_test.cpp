#include <nlohmann/json.hpp>

#include "engine/io/safetensors.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::check_refused;
using test::Outcome;
using test::run_program;
using test::text_of;
using test::train_tiny_run;
using TestDir = test::TemporaryDirectory;

/// A vocabulary of the 256 bytes and one rare merge, in the files of GPT-2: `bpe` in `dir`.
void write_byte_bpe(const TestDir& dir) {
  json vocab;
  int next = 256;  // GPT-2 shows bytes that are not printable as U+0100 and up
  const auto as_utf8 = [](int code) {
    return code < 0x80 ? std::string(1, static_cast<char>(code))
                       : std::string{static_cast<char>(0xC0 | code >> 6),
                                     static_cast<char>(0x80 | (code & 0x3F))};
  };
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_shown =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    vocab[as_utf8(is_shown ? byte : next++)] = byte;
  }
  vocab["xq"] = 256;
  vocab["<|endoftext|>"] = 257;
  dir.write("bpe/encoder.json", vocab.dump());
  dir.write("bpe/vocab.bpe", "#version: 0.2\nx q\n");
}

void run_well(const TestDir& dir, const std::string& arguments) {
  const Outcome outcome = run_program(dir, arguments);
  INFO("ghostgrad " << arguments << "\n" << outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
}

// Of a run or exported weights, on the tiny text.
double loss_of(const TestDir& dir, const std::string& path) {
  const Outcome outcome =
      run_program(dir, "eval " + path +
                           " --json --set data.val=tiny_char/val_*.bin --set train.batch_size=3 "
                           "--set train.seq_len=8 --set eval.batches=4");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  return json::parse(outcome.out).at("val_loss").get<double>();
}

TEST_CASE("export and import keep every parameter", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  run_well(dir, "export runs/tiny --out hf");
  run_well(dir, "import hf --out runs/again");
  constexpr std::size_t kVocabBytes = 21 * 16 * sizeof(float);  // the rows behind are padding
  const SafetensorsFile ours(dir / "runs/tiny/checkpoints/step-000006/model.safetensors");
  const SafetensorsFile again(dir / "runs/again/checkpoints/step-000000/model.safetensors");
  REQUIRE(ours.tensors().size() == again.tensors().size());
  for (const TensorView& tensor : ours.tensors()) {
    INFO(tensor.name);
    const TensorView* found = again.find(tensor.name);
    REQUIRE(found != nullptr);
    REQUIRE(found->shape == tensor.shape);
    const std::size_t size =
        tensor.name == "transformer.wte.weight" ? kVocabBytes : tensor.bytes.size();
    CHECK(std::equal(found->bytes.begin(), found->bytes.begin() + static_cast<std::ptrdiff_t>(size),
                     tensor.bytes.begin()));
  }
}

TEST_CASE("an imported run can be evaluated and started from", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  run_well(dir, "export runs/tiny --out hf");
  run_well(dir, "import hf --out runs/again");
  const auto loss = [&](const std::string& path) { return loss_of(dir, path); };
  CHECK(loss("runs/again") == loss("runs/tiny"));
  CHECK(loss("hf") == loss("runs/tiny"));
  for (const std::string source : {"hf", "runs/again"}) {
    run_well(dir,
             "train tiny.yaml --overwrite --set run.dir=runs/more --set train.steps=0 --set "
             "train.init_from=" +
                 source);
    CHECK(loss("runs/more") == loss("runs/tiny"));
  }
}

TEST_CASE("export and import keep every parameter of a Mamba-2", "[tools]") {
  const TestDir dir;
  test::prepare_tiny_text(dir);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {type: mamba2, layers: 2, channels: 16, mamba2: {state: 8, head_dim: 8}}\n"
            "train: {steps: 4, batch_size: 3, seq_len: 8, threads: 1}\n");
  run_well(dir, "train tiny.yaml");
  run_well(dir, "export runs/tiny --out hf");
  run_well(dir, "import hf --out runs/again");
  const auto loss = [&](const std::string& path) { return loss_of(dir, path); };
  CHECK(loss("runs/again") == loss("runs/tiny"));
  CHECK(loss("hf") == loss("runs/tiny"));
  run_well(dir,
           "train tiny.yaml --overwrite --set run.dir=runs/more --set train.steps=0 --set "
           "train.init_from=hf");
  CHECK(loss("runs/more") == loss("runs/tiny"));
  dir.write("mamba3.yaml",
            "data: {train: tiny_char/train_*.bin}\n"
            "model: {type: mamba3, layers: 1, channels: 16, mamba3: {state: 8, head_dim: 8}}\n"
            "train: {steps: 0, batch_size: 3, seq_len: 8, threads: 1}\n");
  run_well(dir, "train mamba3.yaml");
  check_refused(dir, "export runs/mamba3 --out hf3", 2,
                "a model with other layers than Mamba-2, an MLP, or another gated norm than "
                "mamba_ssm's has no Mamba2ForCausalLM form");
}

TEST_CASE("the tokenizer of GPT-2 travels with the weights", "[tools]") {
  const TestDir dir;
  write_byte_bpe(dir);
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text += "{\"text\": \"It is the same text again.\"}\n";
  }
  dir.write("tiny.jsonl", text);
  dir.write("tiny.yaml",
            "data: {train: tiny_gpt2/train_*.bin, val: tiny_gpt2/val_*.bin}\n"
            "model: {layers: 1, heads: 1, channels: 8, max_seq_len: 27}\n"
            "train: {steps: 1, batch_size: 1, seq_len: 27, threads: 1}\n");
  run_well(dir, "data prepare tiny.jsonl --bpe bpe");
  run_well(dir, "train tiny.yaml");
  run_well(dir, "export runs/tiny --out hf");
  CHECK(text_of(dir / "hf/vocab.json") == text_of(dir / "bpe/encoder.json"));
  CHECK(text_of(dir / "hf/merges.txt") == text_of(dir / "bpe/vocab.bpe"));
  run_well(dir, "import hf --out runs/again");
  const std::string greedy = " --temperature 0 --tokens 9 --prompt It";
  const Outcome sampled = run_program(dir, "sample hf" + greedy);
  CHECK(sampled.code == 0);
  CHECK(sampled.out.starts_with("It"));
  CHECK(run_program(dir, "sample runs/again" + greedy).out == sampled.out);
  std::filesystem::remove(dir / "hf/vocab.json");
  check_refused(dir, "sample hf" + greedy, 2,
                "hf: no tokenizer in the run; pass GPT-2's files by --bpe DIR");
  CHECK(run_program(dir, "sample hf --bpe bpe" + greedy).out == sampled.out);
  CHECK(run_program(dir, "sample hf --bpe bpe --tokens 3").code == 0);  // from <|endoftext|>

  // Each window scores 26 bytes of text and one end-of-text mark, which has no bytes.
  const Outcome outcome = run_program(dir, "eval runs/tiny --json");
  REQUIRE(outcome.code == 0);
  const json result = json::parse(outcome.out);
  CHECK_FALSE(result.contains("bits_per_character"));
  CHECK(result.at("bits_per_byte").get<double>() * 26 / 27 ==
        Approx(result.at("bits_per_token").get<double>()).epsilon(1e-12));
}

TEST_CASE("export and import refuse what they cannot do", "[tools]") {
  const TestDir dir;
  check_refused(dir, "import hf --out runs/x", 2,
                "hf: expected a directory with Hugging Face's config.json and model.safetensors of "
                "a GPT-2 or Mamba-2");
  train_tiny_run(dir);
  run_well(dir, "export runs/tiny --out hf");
  check_refused(dir, "export runs/tiny --out hf", 2,
                "--out hf holds a model.safetensors already; pass --force to replace it");
  run_well(dir, "export runs/tiny --out hf --force");
  check_refused(dir, "export runs/tiny --force --out runs/tiny/checkpoints/step-000006", 2,
                "--out runs/tiny/checkpoints/step-000006 is a checkpoint; expected another "
                "directory");
  check_refused(dir, "export runs/none --out hf2", 2,
                "runs/none: no such run directory or checkpoint");
  check_refused(dir, "import hf --out runs/tiny", 2,
                "run.dir runs/tiny already holds a run (step-000006); pass --resume runs/tiny to "
                "go on with it, or --overwrite");
  run_well(dir, "import hf --out runs/tiny --overwrite");
  CHECK(std::filesystem::exists(dir / "runs/tiny/checkpoints/step-000000"));
  CHECK_FALSE(std::filesystem::exists(dir / "runs/tiny/checkpoints/step-000006"));
  dir.write("hf/config.json", "{}");
  check_refused(dir, "import hf --out runs/x", 2,
                "hf/config.json: not the config of a GPT-2; expected an object with model_type "
                "gpt2");
  CHECK_FALSE(std::filesystem::exists(dir / "runs/x"));
}

}  // namespace
}  // namespace ghost
