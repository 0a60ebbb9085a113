#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace ghost {

/// Philox4x32-10 (Salmon et al. 2011): four random words for every counter, no state. The CPU uses
/// Random123, the GPU cuRAND's device function; the words are the same.
class Philox {
 public:
  using Words = std::array<std::uint32_t, 4>;

  explicit Philox(std::uint64_t seed)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)} {}

  Words operator()(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2, std::uint32_t c3) const;

 private:
  std::array<std::uint32_t, 2> key_;
};

/// What a draw is for. Streams of different purposes never meet.
enum class Purpose : std::uint8_t {
  kSketch = 0,
  kDropout = 1,
  kRounding = 2,
  kInit = 3,
  kBatch = 4,
  kGeneration = 5,
};

/// One stream of draws: everything but the index. Counter words (index, tag, step low, step high),
/// tag = site (bits 0-15) | micro-step (16-23) | rank (24-31); the purpose lies in bits 24-31 of
/// the last word, so sketches (purpose 0) use the plain step.
struct RandomStream {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t site = 0;  // numbers the drawing ops of one forward pass
  std::int64_t micro_step = 0;
  std::int64_t rank = 0;
  Purpose purpose = Purpose::kSketch;

  Philox::Words words(std::uint32_t index) const;

  /// The words from index `first` on, four an index, one after the other: what words(first),
  /// words(first + 1), ... give, at nearly four times their speed.
  void fill(std::uint32_t first, std::span<std::uint32_t> out) const;

 private:
  std::array<std::uint32_t, 3> counter() const;  // all words of the counter but the index
};

/// Uniform in [0, 1) from the upper 24 bits.
inline float uniform_from(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0F / 16777216.0F);
}

/// Two independent standard normal numbers from two words (Box and Muller 1958), in f64.
std::array<double, 2> normal_pair(std::uint32_t a, std::uint32_t b);

}  // namespace ghost
