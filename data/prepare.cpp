#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "data/gpt2_tokenizer.h"
#include "data/output_directory.h"
#include "data/source_tree.h"
#include "data/text_reader.h"
#include "data/tokenizer_file.h"
#include "data/utf8.h"
#include "engine/core/error.h"
#include "engine/io/file.h"
#include "engine/io/sha256.h"

namespace ghost {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kInfoFile = "info.json";
constexpr std::size_t kPieceBytes = std::size_t{1} << 18;

/// The first piece of a text such that every tokenizer gives the same ids for the pieces as for the
/// whole: GPT-2's words never reach from a printable character over the white space that follows.
std::size_t piece_length(std::string_view text) {
  for (std::size_t i = kPieceBytes; i < text.size(); ++i) {
    const bool is_cut =
        (text[i] == ' ' || text[i] == '\n') && text[i - 1] > ' ' && text[i - 1] < '\x7F';
    if (is_cut) {
      return i;
    }
  }
  return text.size();
}

TextFormat format_of(const PrepareOptions& options, const std::filesystem::path& input) {
  return options.all_plain ? TextFormat::kPlain : text_format_of(input);
}

/// Calls `visit(document, input)` for each document of all inputs.
template <typename Visit>
void for_each_document(const PrepareOptions& options, Visit&& visit) {
  std::string document;
  for (const auto& input : options.inputs) {
    TextReader reader(input, format_of(options, input), options.field);
    while (reader.next(document)) {
      visit(std::string_view(document), input);
    }
  }
}

/// One preparation: where tokens go and what is known of them so far.
class Preparation {
 public:
  Preparation(const PrepareOptions& options, const std::filesystem::path& directory)
      : options_(options),
        tokenizer_(make_tokenizer()),
        train_(writer_options(directory, "train")),
        val_(writer_options(directory, "val")) {}

  void run() {
    if (is_stream()) {
      write_stream();
    } else {
      write_documents();
    }
    train_files_ = train_.finish();
    val_files_ = val_.finish();
    GHOST_CHECK(train_.num_tokens() > 0 && (options_.val_fraction == 0 || val_.num_tokens() > 0),
                "{}: val_fraction {} leaves {} training and {} validation tokens; expected both",
                options_.inputs.front().string(), options_.val_fraction, train_.num_tokens(),
                val_.num_tokens());
  }

  void write_side_files(const std::filesystem::path& directory) const {
    save_tokenizer(*tokenizer_, directory);
    Json json;
    json["format"] = "llmc";
    json["tokenizer"] = tokenizer_kind_name(tokenizer_->kind());
    json["vocab_size"] = tokenizer_->vocab_size();
    json["train_tokens"] = train_.num_tokens();
    json["val_tokens"] = val_.num_tokens();
    json["documents"] = documents_;
    json["characters"] = characters_;
    json["split_by"] = is_stream() ? "characters" : "documents";
    json["val_fraction"] = options_.val_fraction;
    json["shard_tokens"] = options_.shard_tokens;
    json["sources"] = Json::array();
    for (const auto& input : options_.inputs) {
      json["sources"].push_back({{"path", input.string()},
                                 {"bytes", std::filesystem::file_size(input)},
                                 {"sha256", sha256_file(input)}});
    }
    json["files"] = Json::array();
    for (const auto* files : {&train_files_, &val_files_}) {
      for (const auto& file : *files) {
        json["files"].push_back({{"name", file.filename().string()},
                                 {"tokens", TokenShard(file).num_tokens()},
                                 {"sha256", sha256_file(file)}});
      }
    }
    write_file_atomically(directory / kInfoFile, json.dump(1) + "\n");
  }

  PrepareResult result() const {
    return {.output = options_.output,
            .documents = documents_,
            .characters = characters_,
            .vocab_size = tokenizer_->vocab_size(),
            .train_tokens = train_.num_tokens(),
            .val_tokens = val_.num_tokens()};
  }

 private:
  TokenShardWriter::Options writer_options(const std::filesystem::path& directory,
                                           std::string_view name) const {
    return {.directory = directory,
            .name = std::string(name),
            .vocab_size = tokenizer_->vocab_size(),
            .shard_tokens = options_.shard_tokens};
  }

  bool is_stream() const {
    if (options_.split_by != SplitBy::kAuto) {
      return options_.split_by == SplitBy::kCharacters;
    }
    return std::all_of(options_.inputs.begin(), options_.inputs.end(), [&](const auto& input) {
      return format_of(options_, input) == TextFormat::kPlain;
    });
  }

  std::unique_ptr<Tokenizer> make_tokenizer() const {
    switch (options_.tokenizer) {
      case TokenizerKind::kByte:
        return std::make_unique<ByteTokenizer>();
      case TokenizerKind::kGpt2:
        return std::make_unique<Gpt2Tokenizer>(options_.bpe_directory);
      case TokenizerKind::kChar:
        return std::make_unique<CharTokenizer>(collect_characters());
    }
    fail("unknown tokenizer");
  }

  std::vector<char32_t> collect_characters() const {
    std::set<char32_t> characters;
    if (!is_stream()) {
      characters.insert(U'\n');  // stands between documents
    }
    for_each_document(options_, [&](std::string_view document, const auto& input) {
      const auto found = CharTokenizer::from_text(document, input.string());
      characters.insert(found.characters().begin(), found.characters().end());
    });
    return {characters.begin(), characters.end()};
  }

  void write_stream() {
    std::string text;
    for_each_document(options_, [&](std::string_view document, const auto&) { text += document; });
    documents_ = 1;
    characters_ = count_code_points(text);
    // As nanoGPT splits: int(characters * 0.9) characters train.
    const auto num_train =
        static_cast<std::int64_t>(static_cast<double>(characters_) * (1.0 - options_.val_fraction));
    const std::size_t cut =
        options_.val_fraction == 0 ? text.size() : code_point_offset(text, num_train);
    encode(std::string_view(text).substr(0, cut), train_);
    encode(std::string_view(text).substr(cut), val_);
  }

  void write_documents() {
    for_each_document(options_, [&](std::string_view document, const auto&) {
      characters_ += count_code_points(document);
      // Document n validates where n * val_fraction passes a whole number.
      const auto passed = [&](std::int64_t n) {
        return std::floor(static_cast<double>(n) * options_.val_fraction);
      };
      TokenShardWriter& writer = passed(documents_ + 1) > passed(documents_) ? val_ : train_;
      if (const auto mark = tokenizer_->end_of_text()) {
        writer.append(std::span(&*mark, 1));
      } else if (writer.num_tokens() > 0) {
        encode("\n", writer);
      }
      encode(document, writer);
      ++documents_;
    });
  }

  void encode(std::string_view text, TokenShardWriter& writer) {
    while (!text.empty()) {
      const std::size_t length = piece_length(text);
      tokens_.clear();
      tokenizer_->encode(text.substr(0, length), tokens_);
      writer.append(tokens_);
      text.remove_prefix(length);
      encoded_bytes_ += static_cast<std::int64_t>(length);
      if (options_.progress) {
        options_.progress(encoded_bytes_);
      }
    }
  }

  const PrepareOptions& options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenShardWriter train_;
  TokenShardWriter val_;
  std::vector<std::filesystem::path> train_files_;
  std::vector<std::filesystem::path> val_files_;
  std::int64_t documents_ = 0;
  std::int64_t characters_ = 0;
  std::int64_t encoded_bytes_ = 0;
  std::vector<std::int32_t> tokens_;
};

}  // namespace

PrepareResult prepare_text(const PrepareOptions& options) {
  GHOST_CHECK(!options.inputs.empty(), "nothing to prepare; expected at least one input file");
  GHOST_CHECK(options.val_fraction >= 0 && options.val_fraction < 1,
              "val_fraction is {}; expected 0 to less than 1", options.val_fraction);
  OutputDirectory output(options.output, kInfoFile, options.force);
  Preparation preparation(options, output.temporary());
  preparation.run();
  preparation.write_side_files(output.temporary());
  output.commit();
  return preparation.result();
}

std::vector<std::string_view> prepared_names() { return {"tinyshakespeare", "source"}; }

PrepareResult prepare_named(std::string_view name, const std::filesystem::path& from,
                            const std::filesystem::path& root, bool force) {
  if (name == "tinyshakespeare") {
    const auto input = from.empty() ? root / "tinyshakespeare.txt" : from;
    GHOST_CHECK(std::filesystem::is_regular_file(input),
                "no text at {}; run `ghostgrad data fetch tinyshakespeare` or pass --from FILE",
                input.string());
    return prepare_text({.inputs = {input},
                         .all_plain = true,
                         .output = root / "tinyshakespeare_char",
                         .tokenizer = TokenizerKind::kChar,
                         .force = force});
  }
  if (name == "source") {
    GHOST_CHECK(std::filesystem::is_directory(from),
                "source: no directory at \"{}\"; pass the root of a source tree by --from",
                from.string());
    return prepare_text({.inputs = list_source_files(from),
                         .all_plain = true,
                         .output = root / "source_bytes",
                         .tokenizer = TokenizerKind::kByte,
                         .split_by = SplitBy::kDocuments,
                         .force = force});
  }
  fail<ConfigError>("no recipe for {}; known are {}", name, fmt::join(prepared_names(), ", "));
}

}  // namespace ghost
