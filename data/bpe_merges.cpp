#include "data/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <queue>

namespace ghost {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

/// One symbol of a word in a doubly linked list; -1 is no neighbour, token -1 is merged away.
struct Symbol {
  std::int32_t token = 0;
  std::int32_t previous = -1;
  std::int32_t next = -1;
};

/// A rule that applied when it was queued; it is stale once either symbol has changed.
struct Candidate {
  std::int32_t rank = 0;
  std::int32_t position = 0;  // of the left symbol
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t merged = 0;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

BpeMerges::BpeMerges(std::int64_t expected_merges)
    : table_(
          std::bit_ceil(static_cast<std::size_t>(std::max<std::int64_t>(expected_merges, 8) * 2))) {
}

std::size_t BpeMerges::slot(std::uint64_t pair) const {
  const std::size_t mask = table_.size() - 1;
  // Fibonacci hashing: the high bits of the product depend on every bit of the pair.
  std::size_t at = static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15ULL) >> 32) & mask;
  while (table_[at].pair != kEmpty && table_[at].pair != pair) {
    at = (at + 1) & mask;
  }
  return at;
}

void BpeMerges::grow() {
  std::vector<Rule> old(table_.size() * 2);
  old.swap(table_);
  for (const Rule& rule : old) {
    if (rule.pair != kEmpty) {
      table_[slot(rule.pair)] = rule;
    }
  }
}

void BpeMerges::add(std::int32_t left, std::int32_t right, std::int32_t merged) {
  if (static_cast<std::size_t>(size_ + 1) * 2 > table_.size()) {
    grow();
  }
  Rule& rule = table_[slot(pair_key(left, right))];
  if (rule.pair == kEmpty) {
    rule = {
        .pair = pair_key(left, right), .rank = static_cast<std::int32_t>(size_), .merged = merged};
    ++size_;
  }
}

void BpeMerges::apply(std::span<const std::int32_t> tokens, std::vector<std::int32_t>& out) const {
  const auto count = static_cast<std::int32_t>(tokens.size());
  std::vector<Symbol> symbols(tokens.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto propose = [&](std::int32_t position) {
    const Symbol& left = symbols[static_cast<std::size_t>(position)];
    if (left.next < 0) {
      return;
    }
    const Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Rule& rule = table_[slot(pair_key(left.token, right.token))];
    if (rule.pair != kEmpty) {
      queue.push({.rank = rule.rank,
                  .position = position,
                  .left = left.token,
                  .right = right.token,
                  .merged = rule.merged});
    }
  };
  for (std::int32_t i = 0; i < count; ++i) {
    symbols[static_cast<std::size_t>(i)] = {.token = tokens[static_cast<std::size_t>(i)],
                                            .previous = i - 1,
                                            .next = i + 1 < count ? i + 1 : -1};
  }
  for (std::int32_t i = 0; i + 1 < count; ++i) {
    propose(i);
  }
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(best.position)];
    if (left.token != best.left || left.next < 0 ||
        symbols[static_cast<std::size_t>(left.next)].token != best.right) {
      continue;
    }
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.token = best.merged;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) {
      symbols[static_cast<std::size_t>(left.next)].previous = best.position;
      propose(best.position);
    }
    if (left.previous >= 0) {
      propose(left.previous);
    }
  }
  for (std::int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
    out.push_back(symbols[static_cast<std::size_t>(i)].token);
  }
}

}  // namespace ghost
