#include "ops/dense_sketch.h"

#include <bit>
#include <cmath>

#include "ops/row_bins.h"

namespace ghost {
namespace {

constexpr std::size_t kHadamardWord = 2;  // words 0 and 1 of a row are its sort key and sign

double sign_of(std::uint32_t word) { return (word & 1U) == 0 ? 1.0 : -1.0; }

// Entries of one column are drawn `per_counter` to a counter.
template <typename Entry>
void fill_columns(std::vector<double>& out, std::int64_t rank, std::int64_t first,
                  std::int64_t count, std::int64_t per_counter, const RandomStream& stream,
                  const Entry& entry) {
  const std::int64_t counters = (rank + per_counter - 1) / per_counter;
  for (std::int64_t c = 0; c < count; ++c) {
    Philox::Words words{};
    for (std::int64_t r = 0; r < rank; ++r) {
      if (r % per_counter == 0) {
        words = stream.words(static_cast<std::uint32_t>((first + c) * counters + r / per_counter));
      }
      out[static_cast<std::size_t>(r * count + c)] =
          entry(words, static_cast<std::size_t>(r % per_counter));
    }
  }
}

}  // namespace

std::vector<double> dense_sketch_columns(SketchMethod method, const RandomStream& stream,
                                         std::int64_t rank, std::int64_t rows, std::int64_t first,
                                         std::int64_t count) {
  std::vector<double> out(static_cast<std::size_t>(rank * count));
  const double size = 1 / std::sqrt(static_cast<double>(rank));
  switch (method) {
    case SketchMethod::kCount:
      break;
    case SketchMethod::kRademacher:
      fill_columns(out, rank, first, count, /*per_counter=*/128, stream,
                   [size](const Philox::Words& words, std::size_t i) {
                     return size * sign_of(words[i / 32] >> (i % 32));
                   });
      break;
    case SketchMethod::kGaussian:
      fill_columns(out, rank, first, count, /*per_counter=*/4, stream,
                   [size](const Philox::Words& words, std::size_t i) {
                     return size * normal_pair(words[i / 2 * 2], words[i / 2 * 2 + 1])[i % 2];
                   });
      break;
    case SketchMethod::kSrht: {
      const auto padded =
          static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(rows)));
      const auto picked = drawn_rows(stream, padded, rank, kHadamardWord);
      for (std::int64_t c = 0; c < count; ++c) {
        const auto column = static_cast<std::uint32_t>(first + c);
        const double sign = sign_of(stream.words(column)[1]);
        for (std::int64_t r = 0; r < rank; ++r) {
          const auto row = static_cast<std::uint32_t>(picked[static_cast<std::size_t>(r)]);
          out[static_cast<std::size_t>(r * count + c)] =
              size * sign * (std::popcount(row & column) % 2 == 0 ? 1.0 : -1.0);
        }
      }
      break;
    }
  }
  return out;
}

}  // namespace ghost
