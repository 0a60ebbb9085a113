#include "data/utf8.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

namespace ghost {
namespace {

/// True when the eight bytes at `bytes` are all ASCII.
bool is_ascii_word(const char* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return (word & 0x8080808080808080ULL) == 0;
}

}  // namespace

CodePoint read_code_point(std::string_view text, std::size_t offset) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return {.value = first, .num_bytes = 1, .is_valid = true};
  }
  int length = 0;
  char32_t value = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
    value = first & 0x1F;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    value = first & 0x0F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    value = first & 0x07;
  } else {
    return {.value = first};
  }
  if (offset + static_cast<std::size_t>(length) > text.size()) {
    return {.value = first};
  }
  for (int i = 1; i < length; ++i) {
    const unsigned next = byte(static_cast<std::size_t>(i));
    if ((next & 0xC0) != 0x80) {
      return {.value = first};
    }
    value = (value << 6) | (next & 0x3F);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest[static_cast<std::size_t>(length)] || is_surrogate || value > 0x10FFFF) {
    return {.value = first};
  }
  return {.value = value, .num_bytes = length, .is_valid = true};
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    if (offset + 8 <= text.size() && is_ascii_word(text.data() + offset)) {
      offset += 8;
      continue;
    }
    const CodePoint point = read_code_point(text, offset);
    if (!point.is_valid) {
      return offset;
    }
    offset += static_cast<std::size_t>(point.num_bytes);
  }
  return offset;
}

void append_code_point(std::string& out, char32_t value) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

std::int64_t count_code_points(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t offset = 0; offset < text.size(); ++count) {
    offset += static_cast<std::size_t>(read_code_point(text, offset).num_bytes);
  }
  return count;
}

std::size_t code_point_offset(std::string_view text, std::int64_t index) {
  std::size_t offset = 0;
  for (std::int64_t i = 0; i < index && offset < text.size(); ++i) {
    offset += static_cast<std::size_t>(read_code_point(text, offset).num_bytes);
  }
  return offset;
}

std::string code_point_name(char32_t value) {
  return fmt::format("U+{:04X}", static_cast<std::uint32_t>(value));
}

}  // namespace ghost
