#include "data/tokenizer_file.h"

#include <nlohmann/json.hpp>

#include "data/gpt2_tokenizer.h"
#include "data/utf8.h"
#include "engine/core/error.h"
#include "engine/io/file.h"
#include "engine/io/sha256.h"

namespace ghost {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSideFile = "tokenizer.json";

Json describe_characters(const CharTokenizer& tokenizer) {
  Json characters = Json::array();
  for (const char32_t character : tokenizer.characters()) {
    std::string text;
    append_code_point(text, character);
    characters.push_back(text);
  }
  return characters;
}

Json copy_gpt2_files(const Gpt2Tokenizer& tokenizer, const std::filesystem::path& directory) {
  Json files;
  const auto copy = [&](const std::filesystem::path& from, const char* name) {
    const std::string bytes = read_file(from);
    write_file_atomically(directory / name, bytes);
    files[name] = sha256_hex(as_bytes(bytes));
  };
  copy(tokenizer.merges_file(), "vocab.bpe");
  copy(tokenizer.vocab_file(), "encoder.json");
  return files;
}

std::unique_ptr<Tokenizer> load_characters(const Json& json, const std::string& path) {
  const auto found = json.find("characters");
  GHOST_CHECK(found != json.end() && found->is_array(),
              "{}: expected \"characters\", a list of one-character strings", path);
  std::vector<char32_t> characters;
  for (const Json& item : *found) {
    const std::string text = item.is_string() ? item.get<std::string>() : std::string();
    const CodePoint point = text.empty() ? CodePoint{} : read_code_point(text, 0);
    GHOST_CHECK(point.is_valid && static_cast<std::size_t>(point.num_bytes) == text.size(),
                "{}: {} in \"characters\"; expected a string of one character", path, item.dump());
    characters.push_back(point.value);
  }
  return std::make_unique<CharTokenizer>(std::move(characters));
}

std::unique_ptr<Tokenizer> load_gpt2(const Json& json, const std::filesystem::path& path) {
  const auto files = json.find("files");
  GHOST_CHECK(files != json.end() && files->is_object(),
              "{}: expected \"files\", names and sha256 of the GPT-2 files", path.string());
  for (const auto& [name, digest] : files->items()) {
    const auto file = path.parent_path() / name;
    const std::string found = sha256_file(file);
    GHOST_CHECK(digest.is_string() && found == digest.get<std::string>(),
                "{}: sha256 is {}; {} says {}", file.string(), found, path.filename().string(),
                digest.dump());
  }
  return std::make_unique<Gpt2Tokenizer>(path.parent_path());
}

}  // namespace

void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& directory) {
  Json json;
  json["kind"] = tokenizer_kind_name(tokenizer.kind());
  json["vocab_size"] = tokenizer.vocab_size();
  switch (tokenizer.kind()) {
    case TokenizerKind::kByte:
      break;
    case TokenizerKind::kChar:
      json["characters"] = describe_characters(dynamic_cast<const CharTokenizer&>(tokenizer));
      break;
    case TokenizerKind::kGpt2:
      json["files"] = copy_gpt2_files(dynamic_cast<const Gpt2Tokenizer&>(tokenizer), directory);
      break;
  }
  write_file_atomically(directory / kSideFile, json.dump(1) + "\n");
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    // Hugging Face's GPT-2 directories hold a tokenizer.json of another kind, beside vocab.json.
    const bool is_ours =
        std::filesystem::exists(path / kSideFile) && !std::filesystem::exists(path / "vocab.json");
    if (is_ours) {
      return load_tokenizer(path / kSideFile);
    }
    return std::make_unique<Gpt2Tokenizer>(path);
  }
  const auto json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  GHOST_CHECK(json.is_object() && json.contains("kind") && json["kind"].is_string(),
              "{}: not a tokenizer side file: expected a JSON object with \"kind\"", path.string());
  std::unique_ptr<Tokenizer> tokenizer;
  const auto kind = json["kind"].get<std::string>();
  if (kind == tokenizer_kind_name(TokenizerKind::kByte)) {
    tokenizer = std::make_unique<ByteTokenizer>();
  } else if (kind == tokenizer_kind_name(TokenizerKind::kChar)) {
    tokenizer = load_characters(json, path.string());
  } else if (kind == tokenizer_kind_name(TokenizerKind::kGpt2)) {
    tokenizer = load_gpt2(json, path);
  } else {
    fail("{}: tokenizer of kind {}; expected byte, char or gpt2", path.string(), kind);
  }
  const Json stated = json.value("vocab_size", Json());
  GHOST_CHECK(stated == tokenizer->vocab_size(), "{}: vocab_size is {}; its {} vocabulary has {}",
              path.string(), stated.dump(), kind, tokenizer->vocab_size());
  return tokenizer;
}

}  // namespace ghost
