#include "engine/config/byte_size.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>

namespace ghost {

std::optional<std::int64_t> parse_byte_size(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                            {"b", 1},
                                            {"kib", 0x1p10},
                                            {"mib", 0x1p20},
                                            {"gib", 0x1p30},
                                            {"tib", 0x1p40},
                                            {"kb", 1e3},
                                            {"mb", 1e6},
                                            {"gb", 1e9},
                                            {"tb", 1e12}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number) || number <= 0) {
    return std::nullopt;
  }
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ') {
      unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
    }
  }
  for (const Unit& known : kUnits) {
    if (unit == known.name && number * known.bytes < 0x1p62) {
      return static_cast<std::int64_t>(number * known.bytes);
    }
  }
  return std::nullopt;
}

}  // namespace ghost
