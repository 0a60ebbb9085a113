#include "data/gpt2_tokenizer.h"

#include <fstream>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::size_t kLongestCachedWord = 64;  // bytes
constexpr std::size_t kMostCachedWords = 1U << 20;

std::filesystem::path first_existing(const std::filesystem::path& directory,
                                     std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (std::filesystem::is_regular_file(directory / name)) {
      return directory / name;
    }
  }
  fail("gpt2 tokenizer: {} holds neither {} nor {}", directory.string(), *names.begin(),
       *(names.begin() + 1));
}

/// The printable characters in which GPT-2's files write bytes: printable Latin-1 stands for
/// itself, the other 68 bytes follow from U+0100 in order (openai/gpt-2 src/encoder.py,
/// bytes_to_unicode).
std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    alphabet[byte] = is_printable ? byte : next++;
  }
  return alphabet;
}

/// A symbol of the files as the bytes it stands for; nullopt where it is no symbol.
std::optional<std::string> symbol_bytes(std::string_view symbol) {
  static const auto kByteOf = [] {
    std::unordered_map<char32_t, char> bytes;
    for (std::size_t byte = 0; const char32_t character : byte_alphabet()) {
      bytes.emplace(character, static_cast<char>(byte++));
    }
    return bytes;
  }();
  std::string bytes;
  for (std::size_t offset = 0; offset < symbol.size();) {
    const CodePoint point = read_code_point(symbol, offset);
    const auto found = kByteOf.find(point.value);
    if (!point.is_valid || found == kByteOf.end()) {
      return std::nullopt;
    }
    bytes.push_back(found->second);
    offset += static_cast<std::size_t>(point.num_bytes);
  }
  return bytes;
}

}  // namespace

Gpt2Tokenizer::Gpt2Tokenizer(const std::filesystem::path& directory)
    : merges_file_(first_existing(directory, {"vocab.bpe", "merges.txt"})),
      vocab_file_(first_existing(directory, {"encoder.json", "vocab.json"})),
      merges_(50000) {
  read_vocab();
  read_merges();
}

void Gpt2Tokenizer::read_vocab() {
  std::ifstream in(vocab_file_, std::ios::binary);
  const auto json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  GHOST_CHECK(json.is_object() && !json.empty(),
              "{}: expected a JSON object of token strings and ids", vocab_file_.string());
  bytes_.resize(json.size());
  std::vector<bool> seen(json.size());
  for (const auto& [symbol, id] : json.items()) {
    const bool is_id = id.is_number_integer() && id.get<std::int64_t>() >= 0 &&
                       id.get<std::size_t>() < json.size() && !seen[id.get<std::size_t>()];
    GHOST_CHECK(is_id, "{}: token \"{}\" has id {}; expected each of 0 to {} once",
                vocab_file_.string(), symbol, id.dump(), json.size() - 1);
    const auto token = id.get<std::int32_t>();
    seen[static_cast<std::size_t>(token)] = true;
    if (symbol == kEndOfText) {
      end_of_text_ = token;
      bytes_[static_cast<std::size_t>(token)] = kEndOfText;
      continue;
    }
    const auto bytes = symbol_bytes(symbol);
    GHOST_CHECK(bytes.has_value(), "{}: token \"{}\" is not written in GPT-2's byte alphabet",
                vocab_file_.string(), symbol);
    bytes_[static_cast<std::size_t>(token)] = *bytes;
    ids_.emplace(*bytes, token);
  }
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = ids_.find(std::string(1, static_cast<char>(byte)));
    GHOST_CHECK(found != ids_.end(), "{}: no token for byte 0x{:02X}", vocab_file_.string(), byte);
    byte_ids_[byte] = found->second;
  }
}

void Gpt2Tokenizer::read_merges() {
  std::ifstream in(merges_file_, std::ios::binary);
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    if (line.empty() || line.starts_with("#version")) {
      continue;
    }
    const std::size_t space = line.find(' ');
    const bool is_pair = space != std::string::npos && space > 0 && space + 1 < line.size() &&
                         line.find(' ', space + 1) == std::string::npos;
    GHOST_CHECK(is_pair, "{}:{}: expected two symbols and one space, found \"{}\"",
                merges_file_.string(), number, line);
    const auto left = symbol_bytes(std::string_view(line).substr(0, space));
    const auto right = symbol_bytes(std::string_view(line).substr(space + 1));
    const auto id_of = [&](const std::optional<std::string>& bytes) {
      const auto found = bytes ? ids_.find(*bytes) : ids_.end();
      GHOST_CHECK(found != ids_.end(), "{}:{}: merge \"{}\" uses a token that {} lacks",
                  merges_file_.string(), number, line, vocab_file_.filename().string());
      return found->second;
    };
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    merges_.add(left_id, right_id, id_of(*left + *right));
  }
  GHOST_CHECK(merges_.size() > 0, "{}: no merges in the file", merges_file_.string());
}

void Gpt2Tokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens,
                           SpecialTokens special) const {
  while (special == SpecialTokens::kRecognize && end_of_text_) {
    const std::size_t mark = text.find(kEndOfText);
    if (mark == std::string_view::npos) {
      break;
    }
    encode_text(text.substr(0, mark), tokens);
    tokens.push_back(*end_of_text_);
    text.remove_prefix(mark + kEndOfText.size());
  }
  encode_text(text, tokens);
}

std::vector<std::int32_t> Gpt2Tokenizer::encode(std::string_view text,
                                                SpecialTokens special) const {
  std::vector<std::int32_t> tokens;
  encode(text, tokens, special);
  return tokens;
}

void Gpt2Tokenizer::encode_text(std::string_view text, std::vector<std::int32_t>& tokens) const {
  while (!text.empty()) {
    const std::string_view valid = text.substr(0, valid_utf8_prefix(text));
    for (std::size_t begin = 0; begin < valid.size();) {
      const std::size_t end = splitter_.word_end(valid, begin);
      encode_word(valid.substr(begin, end - begin), tokens);
      begin = end;
    }
    text.remove_prefix(valid.size());
    std::size_t invalid = 0;
    while (invalid < text.size() && !read_code_point(text, invalid).is_valid) {
      ++invalid;
    }
    if (invalid > 0) {
      encode_word(text.substr(0, invalid), tokens);
      text.remove_prefix(invalid);
    }
  }
}

void Gpt2Tokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& tokens) const {
  if (word.size() > kLongestCachedWord) {
    merge_word(word, tokens);
    return;
  }
  const auto found = cache_.find(word);
  if (found != cache_.end()) {
    const auto begin = cached_tokens_.begin() + found->second.begin;
    tokens.insert(tokens.end(), begin, begin + found->second.count);
    return;
  }
  if (cache_.size() >= kMostCachedWords) {
    cache_.clear();
    cached_tokens_.clear();
  }
  const auto begin = static_cast<std::uint32_t>(cached_tokens_.size());
  merge_word(word, cached_tokens_);
  const auto count = static_cast<std::uint32_t>(cached_tokens_.size()) - begin;
  cache_.emplace(word, TokenRange{.begin = begin, .count = count});
  tokens.insert(tokens.end(), cached_tokens_.begin() + begin, cached_tokens_.end());
}

void Gpt2Tokenizer::merge_word(std::string_view word, std::vector<std::int32_t>& tokens) const {
  std::vector<std::int32_t> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  }
  merges_.apply(symbols, tokens);
}

std::string Gpt2Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    check_token(token);
    text += bytes_[static_cast<std::size_t>(token)];
  }
  return text;
}

}  // namespace ghost
