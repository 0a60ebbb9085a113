#include "engine/autograd/residual_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "engine/autograd/residual_codec_kernels.h"
#include "engine/device/dispatch.h"
#include "engine/tensor/primitives.h"

namespace ghost {

// Derivatives lie in
//   gelu (erf)   Phi(x) + x phi(x), extreme where x^2 = 2:            -0.12891 to 1.12891
//   gelu (tanh)  found numerically (a test looks again):              -0.12887 to 1.12887
//   silu         s (1 + x (1 - s)), extreme where x tanh(x / 2) = 2:  -0.09984 to 1.09984
// The grids cover these and hold 0 and 1, the derivatives of units far from the bend, exactly.
CodeGrid grid_of(Keep keep) {
  switch (keep) {
    case Keep::kInt8:
      return {.lowest = -127, .highest = 127};
    case Keep::kInt4:
      return {.lowest = -7, .highest = 7};
    case Keep::kDerivative8:
      return {.lowest = -27, .highest = 228, .steps_per_one = 200};
    case Keep::kDerivative4:
      return {.lowest = -2, .highest = 13, .steps_per_one = 11};
    case Keep::kExact:
    case Keep::kBF16:
    case Keep::kRecompute:
    case Keep::kSketch:
    case Keep::kEmaSketch:
      break;
  }
  fail("a residual that is not encoded");
}

bool is_packed(Keep keep) { return keep == Keep::kInt4 || keep == Keep::kDerivative4; }

namespace {

constexpr std::int64_t kChunk = 1024;  // elements whose draws and codes stay in L1
constexpr std::int64_t kParallelElements = 1 << 14;

using Draws = std::array<std::uint16_t, kChunk>;

// 16 bits for each of the elements from `begin` on, a multiple of 8: draws are numbered by the
// element, eight to a counter, so that no order of work changes them.
void draw(const RandomStream& stream, std::int64_t begin, std::int64_t size, Draws& out) {
  std::array<std::uint32_t, kChunk / 2> words;
  const auto num_words = static_cast<std::size_t>((size + 1) / 2);
  stream.fill(static_cast<std::uint32_t>(begin / 8), std::span(words).first(num_words));
  for (std::size_t i = 0; i < num_words; ++i) {
    out[2 * i] = static_cast<std::uint16_t>(words[i]);
    out[2 * i + 1] = static_cast<std::uint16_t>(words[i] >> 16);
  }
}

// code = floor(v + u) for v = x * factor and u uniform in (0, 1): v on average. The sum is formed
// without the whole part of v, where it would be rounded: whole numbers come back as they are.
template <typename T, typename Code>
void quantise(const T* x, float factor, const CodeGrid& grid, const std::uint16_t* draws,
              Code* codes, std::int64_t size) {
  const float lowest = grid.lowest;  // of its own: a store to codes might change what grid is
  const float highest = grid.highest;
  const float shift = std::is_signed_v<Code> ? 0 : -lowest;
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    const float u = (static_cast<float>(draws[i]) + 0.5F) * 0x1p-16F;
    const float v = static_cast<float>(x[i]) * factor;
    const float whole = std::floor(v);
    const float code = whole + std::floor(v - whole + u);
    const float kept = std::min(highest, std::max(lowest, code)) + shift;
    codes[i] = static_cast<Code>(static_cast<std::int32_t>(kept));
  }
}

// Two codes a byte; the last half of an odd number is zero.
template <typename Code>
void pack(Code* codes, std::uint8_t* bytes, std::int64_t size) {
  if (size % 2 != 0) {
    codes[size] = 0;  // there is room: chunks have an even capacity
  }
#pragma omp simd
  for (std::int64_t i = 0; i < (size + 1) / 2; ++i) {
    bytes[i] = static_cast<std::uint8_t>((codes[2 * i] & 15) | (codes[2 * i + 1] & 15) << 4);
  }
}

std::int8_t code_of(std::uint8_t half, std::int8_t /*like*/) {  // two's complement in 4 bits
  return static_cast<std::int8_t>(static_cast<std::int8_t>(half << 4) >> 4);
}
std::uint8_t code_of(std::uint8_t half, std::uint8_t /*like*/) { return half & 15U; }

template <typename Code>
void unpack(const std::uint8_t* bytes, Code* codes, std::int64_t size) {
#pragma omp simd
  for (std::int64_t i = 0; i < (size + 1) / 2; ++i) {
    codes[2 * i] = code_of(static_cast<std::uint8_t>(bytes[i] & 15U), Code{});
    codes[2 * i + 1] = code_of(static_cast<std::uint8_t>(bytes[i] >> 4), Code{});
  }
}

// Steps per unit of one group; writes its scale.
template <typename T>
float scale_group(const T* x, std::int64_t size, float highest, float* scale) {
  // Magnitudes order as their bits do, infinities and NaN above all.
  std::uint32_t largest_bits = 0;
#pragma omp simd reduction(max : largest_bits)
  for (std::int64_t i = 0; i < size; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(static_cast<float>(x[i])) & 0x7fffffffU;
    largest_bits = std::max(largest_bits, bits);
  }
  const auto largest = std::bit_cast<float>(largest_bits);
  // highest / largest must not overflow; and what is not finite must not come back as a number.
  const bool is_finite = largest_bits < 0x7f800000U;
  if (!is_finite || largest < kSmallestScaled) {
    *scale = is_finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    return 0;
  }
  *scale = largest / highest;
  return highest / largest;
}

/// One encoding: Code is i8 with scales, u8 (shifted to start at 0) without.
template <typename T, typename Code>
struct Encoder {
  const T* x;
  std::int64_t n;
  CodeGrid grid;
  RandomStream stream;
  std::uint8_t* values;
  float* scales;       // null without
  std::int64_t group;  // n without scales
  bool is_packed;

  // Elements [begin, end), whole groups from a multiple of 8 on.
  void encode(std::int64_t begin, std::int64_t end) const {
    std::array<Code, kChunk> codes;
    Draws draws;
    float factor = grid.steps_per_one;
    for (std::int64_t chunk = begin; chunk < end; chunk += kChunk) {
      const std::int64_t size = std::min(kChunk, end - chunk);
      draw(stream, chunk, size, draws);
      Code* to = is_packed ? codes.data() : reinterpret_cast<Code*>(values) + chunk;
      for (std::int64_t i = 0; i < size;) {
        const std::int64_t at = chunk + i;
        if (scales != nullptr && at % group == 0) {
          factor = scale_group(x + at, std::min(group, n - at), grid.highest, scales + at / group);
        }
        const std::int64_t run = std::min(size - i, group - at % group);
        if (factor == 0) {
          std::fill_n(to + i, run, Code{0});
        } else {
          quantise(x + at, factor, grid, draws.data() + i, to + i, run);
        }
        i += run;
      }
      if (is_packed) {
        pack(codes.data(), values + chunk / 2, size);
      }
    }
  }
};

template <typename T, typename Code>
void encode(const Tensor& x, const CodeGrid& grid, const RandomStream& stream,
            EncodedResidual& out) {
  const std::int64_t n = x.numel();
  const Encoder<T, Code> encoder{
      .x = x.data<T>(),
      .n = n,
      .grid = grid,
      .stream = stream,
      .values = reinterpret_cast<std::uint8_t*>(out.values.raw()),
      .scales = out.scales.defined() ? out.scales.data<float>() : nullptr,
      .group = out.scales.defined() ? out.group : std::max<std::int64_t>(n, 1),
      .is_packed = is_packed(out.keep)};
  // Whole groups, eight at least: each piece starts at a counter and at a byte of its own.
  const std::int64_t piece = out.scales.defined()
                                 ? out.group * std::max<std::int64_t>(8, kChunk / out.group / 8 * 8)
                                 : kChunk;
#pragma omp parallel for schedule(static) if (n > kParallelElements)
  for (std::int64_t begin = 0; begin < n; begin += piece) {
    encoder.encode(begin, std::min(n, begin + piece));
  }
}

template <typename T, typename Code>
void decode(const EncodedResidual& encoded, const CodeGrid& grid, const Tensor& out) {
  using Real = RealOf<T>;
  const std::int64_t n = out.numel();
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(encoded.values.raw());
  const float* scales = encoded.scales.defined() ? encoded.scales.data<float>() : nullptr;
  const std::int64_t group = scales != nullptr ? encoded.group : std::max<std::int64_t>(n, 1);
  const bool packed = is_packed(encoded.keep);
#pragma omp parallel for schedule(static) if (n > kParallelElements)
  for (std::int64_t chunk = 0; chunk < n; chunk += kChunk) {
    const std::int64_t size = std::min(kChunk, n - chunk);
    std::array<Code, kChunk> unpacked;
    const Code* codes = reinterpret_cast<const Code*>(bytes) + chunk;
    if (packed) {
      unpack(bytes + chunk / 2, unpacked.data(), size);
      codes = unpacked.data();
    }
    T* to = out.data<T>() + chunk;
    if (scales == nullptr) {
      const auto lowest = static_cast<Real>(grid.lowest);
      const auto steps_per_one = static_cast<Real>(grid.steps_per_one);
#pragma omp simd
      for (std::int64_t i = 0; i < size; ++i) {
        put(to[i], (static_cast<Real>(codes[i]) + lowest) / steps_per_one);  // 0 and 1 exactly
      }
      continue;
    }
    for (std::int64_t i = 0; i < size;) {
      const std::int64_t at = chunk + i;
      const auto scale = static_cast<Real>(scales[at / group]);
      const std::int64_t end = std::min(size, i + group - at % group);
#pragma omp simd
      for (std::int64_t j = i; j < end; ++j) {
        put(to[j], scale * static_cast<Real>(codes[j]));
      }
      i = end;
    }
  }
}

}  // namespace

EncodedResidual encode_residual(const Tensor& x, Keep keep, std::int64_t group,
                                const RandomStream& stream) {
  const auto& allocator = x.storage()->shared_allocator();
  const auto stored = [&](const Shape& shape, DType dtype) {
    return Tensor(allocator, shape, dtype, MemoryTag::kResiduals);
  };
  EncodedResidual out{.keep = keep, .shape = x.shape(), .group = group};
  if (keep == Keep::kBF16) {
    out.values = stored(x.shape(), DType::kBF16);
    cast(out.values, x);
    return out;
  }
  const CodeGrid grid = grid_of(keep);
  const std::int64_t n = x.numel();
  out.values = is_packed(keep) ? stored({(n + 1) / 2}, DType::kU8)
                               : stored(x.shape(), is_scaled(keep) ? DType::kI8 : DType::kU8);
  if (is_scaled(keep)) {
    out.scales = stored({(n + group - 1) / group}, DType::kF32);
  }
  dispatch(
      x.device(),
      [&] {
        visit_floating(x.dtype(), [&]<typename T>() {
          is_scaled(keep) ? encode<T, std::int8_t>(x, grid, stream, out)
                          : encode<T, std::uint8_t>(x, grid, stream, out);
        });
      },
      [&] { cuda::encode_residual(x, stream, out); });
  return out;
}

Tensor decode_residual(const EncodedResidual& encoded, DType dtype) {
  Tensor out(encoded.values.storage()->shared_allocator(), encoded.shape, dtype,
             MemoryTag::kWorkspace);
  if (encoded.keep == Keep::kBF16) {
    cast(out, encoded.values);
    return out;
  }
  dispatch(
      out.device(),
      [&] {
        const CodeGrid grid = grid_of(encoded.keep);
        visit_floating(dtype, [&]<typename T>() {
          is_scaled(encoded.keep) ? decode<T, std::int8_t>(encoded, grid, out)
                                  : decode<T, std::uint8_t>(encoded, grid, out);
        });
      },
      [&] { cuda::decode_residual(encoded, out); });
  return out;
}

}  // namespace ghost
