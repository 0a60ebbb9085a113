#pragma once

#include <cstdint>
#include <string>

namespace ghost {

// Numbers as people read them. The console, the report and the tables of `inspect` and `bench`
// share these, so that one quantity looks the same everywhere.

/// 665820 -> "665,820".
std::string format_count(std::int64_t count);

/// Three significant digits and a decimal prefix: 10770816 -> "10.8 M", 989e12 -> "989 T".
/// "?" for a value that is not finite.
std::string format_short(double value);

/// Binary units with one decimal: 512 -> "512 B", 43201331 -> "41.2 MiB".
std::string format_bytes(std::int64_t bytes);

/// The two largest units: 7.4 -> "7s", 481 -> "8m01s", 7500 -> "2h05m", 273600 -> "3d04h".
/// "?" for a negative duration or one that is not finite.
std::string format_duration(double seconds);

/// Milliseconds of a step: "98.4 ms"; two decimals below 10 ms, none from 1000 ms.
std::string format_ms(double ms);

}  // namespace ghost
