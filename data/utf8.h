#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ghost {

/// One step through UTF-8 text: a code point and the bytes it took.
struct CodePoint {
  char32_t value = 0;
  int num_bytes = 1;
  bool is_valid = false;  // false: the byte at this place begins no valid sequence; num_bytes is 1
};

/// Reads the code point that begins at `offset` (< text.size()). Overlong forms, surrogates and
/// values past U+10FFFF are invalid (Unicode 15, table 3-7).
CodePoint read_code_point(std::string_view text, std::size_t offset);

/// Offset of the first byte that begins no valid sequence, or text.size().
std::size_t valid_utf8_prefix(std::string_view text);

void append_code_point(std::string& out, char32_t value);

/// Number of code points; each invalid byte counts as one.
std::int64_t count_code_points(std::string_view text);

/// Byte offset of code point number `index`; text.size() when there are fewer.
std::size_t code_point_offset(std::string_view text, std::int64_t index);

/// `U+00E9`.
std::string code_point_name(char32_t value);

}  // namespace ghost
