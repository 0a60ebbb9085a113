#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ghost {

/// Levenshtein distance: letters to insert, remove or replace.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The valid key that was probably meant by `unknown`, a dotted path that is not among `valid`.
///
/// Considered are its siblings, by edit distance or because one word begins the other, and keys of
/// the same last word anywhere. Nothing when no key is near.
std::optional<std::string> nearest_key(std::string_view unknown,
                                       std::span<const std::string> valid);

/// The one of `candidates`, which are not empty, that takes the fewest edits to reach from `text`.
std::string nearest_text(std::string_view text, std::span<const std::string> candidates);

}  // namespace ghost
