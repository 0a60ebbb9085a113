#pragma once

#include <string>
#include <string_view>

namespace ghost {

/// `text` for the inside of an HTML or SVG element or a quoted attribute: & < > " ' are escaped,
/// control characters other than line end and tab, which no XML text may hold, become U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace ghost
