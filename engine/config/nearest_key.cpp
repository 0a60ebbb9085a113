#include "engine/config/nearest_key.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace ghost {
namespace {

struct SplitKey {
  std::string_view section;  // with its dot; empty at the top
  std::string_view word;
};

SplitKey split(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  const std::size_t begin = dot == std::string_view::npos ? 0 : dot + 1;
  return {path.substr(0, begin), path.substr(begin)};
}

// One word left unfinished, or one with something added: warmup for warmup_steps.
bool begins_other(std::string_view a, std::string_view b) {
  return std::min(a.size(), b.size()) >= 3 && (a.starts_with(b) || b.starts_with(a));
}

}  // namespace

// One row of the table at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::optional<std::string> nearest_key(std::string_view unknown,
                                       std::span<const std::string> valid) {
  const SplitKey wrong = split(unknown);
  // About one letter in three may be wrong, and never all of them.
  std::size_t limit = wrong.word.size() > 1 ? (wrong.word.size() + 2) / 3 : 0;
  std::optional<std::string> nearest;
  const auto consider = [&](const std::string& candidate, std::size_t distance) {
    if (distance <= limit && (!nearest || distance < limit)) {
      nearest = candidate;
      limit = distance;
    }
  };
  for (const std::string& candidate : valid) {
    const SplitKey key = split(candidate);
    if (key.section == wrong.section) {
      const std::size_t distance = edit_distance(wrong.word, key.word);
      consider(candidate,
               begins_other(wrong.word, key.word) ? std::min(distance, std::size_t{1}) : distance);
    } else if (key.word == wrong.word) {
      consider(candidate, 1);
    }
  }
  return nearest;
}

std::string nearest_text(std::string_view text, std::span<const std::string> candidates) {
  return *std::min_element(candidates.begin(), candidates.end(),
                           [text](const std::string& a, const std::string& b) {
                             return edit_distance(text, a) < edit_distance(text, b);
                           });
}

}  // namespace ghost
