#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ghost {

/// Bytes of "1.5 GiB", "800MB" or "4096": a number and a unit of B, KiB, MiB, GiB, TiB (powers of
/// 1024) or KB, MB, GB, TB (powers of 1000), upper or lower case. Nothing for other text.
std::optional<std::int64_t> parse_byte_size(std::string_view text);

}  // namespace ghost
