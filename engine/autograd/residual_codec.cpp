#include "engine/autograd/residual_codec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

std::shared_ptr<Allocator> allocator_of(const Tensor& x) { return x.storage()->shared_allocator(); }

constexpr float kSmallestScaled = 1e-30F;  // smaller groups are kept as zeros

// One group: scale = max|x| / 127, q = floor(x / scale + u) with u uniform in [0, 1), so that q is
// x / scale on average. Draws are numbered by the element, four to a counter.
template <typename T>
void encode_group(const T* x, std::int8_t* q, float* scale, std::int64_t begin, std::int64_t end,
                  const RandomStream& stream) {
  float largest = 0;
  bool is_finite = true;
  for (std::int64_t i = begin; i < end; ++i) {
    const float value = std::abs(static_cast<float>(x[i]));
    is_finite = is_finite && std::isfinite(value);
    largest = std::max(largest, value);
  }
  // 127 / largest must not overflow; and what is not finite must not come back as a number.
  if (!is_finite || largest < kSmallestScaled) {
    *scale = is_finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    std::fill(q + begin, q + end, std::int8_t{0});
    return;
  }
  *scale = largest / 127.0F;
  const float inverse = 127.0F / largest;
  Philox::Words words{};
  for (std::int64_t i = begin; i < end; ++i) {
    if (i == begin || i % 4 == 0) {
      words = stream.words(static_cast<std::uint32_t>(i / 4));
    }
    const float u = uniform_from(words[static_cast<std::size_t>(i % 4)]);
    const float rounded = std::floor(static_cast<float>(x[i]) * inverse + u);
    q[i] = static_cast<std::int8_t>(std::clamp(rounded, -127.0F, 127.0F));
  }
}

}  // namespace

EncodedResidual encode_residual(const Tensor& x, Keep keep, std::int64_t group,
                                const RandomStream& stream) {
  GHOST_CHECK(keep == Keep::kBF16 || keep == Keep::kInt8, "a residual that is not encoded");
  EncodedResidual out{.keep = keep, .group = group};
  if (keep == Keep::kBF16) {
    out.values = Tensor(allocator_of(x), x.shape(), DType::kBF16, MemoryTag::kResiduals);
    cast(out.values, x);
    return out;
  }
  const std::int64_t n = x.numel();
  const std::int64_t num_groups = (n + group - 1) / group;
  out.values = Tensor(allocator_of(x), x.shape(), DType::kI8, MemoryTag::kResiduals);
  out.scales = Tensor(allocator_of(x), {num_groups}, DType::kF32, MemoryTag::kResiduals);
  if (x.device().is_dry()) {
    return out;
  }
  visit_real(x.dtype(), [&]<typename T>() {
    const T* from = x.data<T>();
    std::int8_t* to = out.values.data<std::int8_t>();
    float* scales = out.scales.data<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t g = 0; g < num_groups; ++g) {
      encode_group(from, to, scales + g, g * group, std::min(n, (g + 1) * group), stream);
    }
  });
  return out;
}

Tensor decode_residual(const EncodedResidual& encoded, DType dtype) {
  Tensor out(allocator_of(encoded.values), encoded.values.shape(), dtype, MemoryTag::kWorkspace);
  if (encoded.keep == Keep::kBF16) {
    cast(out, encoded.values);
    return out;
  }
  if (out.device().is_dry()) {
    return out;
  }
  const std::int64_t n = out.numel();
  const std::int64_t group = encoded.group;
  visit_real(dtype, [&]<typename T>() {
    const std::int8_t* from = encoded.values.data<std::int8_t>();
    const float* scales = encoded.scales.data<float>();
    T* to = out.data<T>();
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < n; begin += group) {
      const T factor = static_cast<T>(scales[begin / group]);
      for (std::int64_t i = begin; i < std::min(n, begin + group); ++i) {
        to[i] = factor * static_cast<T>(from[i]);
      }
    }
  });
  return out;
}

}  // namespace ghost
