#include "engine/tensor/primitives.h"

#include <cstring>
#include <type_traits>

namespace ghost {
namespace {

bool is_dry(const Tensor& x) { return x.device().is_dry(); }

void check_pair(const char* what, const Tensor& destination, const Tensor& source) {
  GHOST_CHECK(destination.numel() == source.numel(), "shape mismatch in {}: {} against {}", what,
              destination.shape(), source.shape());
}

/// Below this many elements a parallel region costs more than it saves.
constexpr std::int64_t kParallelElements = 1 << 14;

}  // namespace

void fill_zero(const Tensor& x) {
  if (is_dry(x)) {
    return;
  }
  std::byte* bytes = x.raw();
  const std::int64_t size = x.bytes();
  constexpr std::int64_t kPiece = 1 << 16;
#pragma omp parallel for schedule(static) if (size > 4 * kParallelElements)
  for (std::int64_t begin = 0; begin < size; begin += kPiece) {
    std::memset(bytes + begin, 0, static_cast<std::size_t>(std::min(kPiece, size - begin)));
  }
}

void fill(const Tensor& x, double value) {
  if (is_dry(x)) {
    return;
  }
  visit_real(x.dtype(),
             [&]<typename T>() { std::fill_n(x.data<T>(), x.numel(), static_cast<T>(value)); });
}

void copy(const Tensor& destination, const Tensor& source) {
  check_pair("copy", destination, source);
  GHOST_CHECK(destination.dtype() == source.dtype(), "copy from {} to {}; expected one dtype",
              dtype_name(source.dtype()), dtype_name(destination.dtype()));
  if (!is_dry(destination)) {
    std::memcpy(destination.raw(), source.raw(), static_cast<std::size_t>(source.bytes()));
  }
}

void cast(const Tensor& destination, const Tensor& source) {
  check_pair("cast", destination, source);
  if (is_dry(destination)) {
    return;
  }
  const std::int64_t n = source.numel();
  const auto convert = [n]<typename To, typename From>(To* to, const From* from) {
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      if constexpr (std::is_same_v<To, BFloat16>) {
        // Stores of a whole struct do not vectorise (1.5 against 18 GB/s of f32 on one core).
        to[i].bits = BFloat16(static_cast<float>(from[i])).bits;
      } else {
        to[i] = static_cast<To>(static_cast<float>(from[i]));
      }
    }
  };
  const DType to = destination.dtype();
  const DType from = source.dtype();
  if (to == from) {
    copy(destination, source);
  } else if (to == DType::kBF16) {
    visit_real(from,
               [&]<typename T>() { convert(destination.data<BFloat16>(), source.data<T>()); });
  } else if (from == DType::kBF16) {
    visit_real(to, [&]<typename T>() { convert(destination.data<T>(), source.data<BFloat16>()); });
  } else if (to == DType::kF32 && from == DType::kF64) {
    convert(destination.data<float>(), source.data<double>());
  } else if (to == DType::kF64 && from == DType::kF32) {
    convert(destination.data<double>(), source.data<float>());
  } else {
    fail("cast from {} to {}; expected f32, f64 or bf16", dtype_name(from), dtype_name(to));
  }
}

void accumulate(const Tensor& destination, const Tensor& source) {
  check_pair("accumulate", destination, source);
  if (is_dry(destination)) {
    return;
  }
  const std::int64_t n = source.numel();
  visit_real(destination.dtype(), [&]<typename T>() {
    T* to = destination.data<T>();
    const T* from = source.data<T>();
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] += from[i];
    }
  });
}

void scale(const Tensor& x, double factor) {
  if (is_dry(x) || factor == 1.0) {
    return;
  }
  const std::int64_t n = x.numel();
  visit_real(x.dtype(), [&]<typename T>() {
    T* values = x.data<T>();
    const T f = static_cast<T>(factor);
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      values[i] *= f;
    }
  });
}

double item(const Tensor& x) {
  GHOST_CHECK(x.numel() == 1, "item of a tensor of shape {}; expected one element", x.shape());
  if (is_dry(x)) {
    return 0;
  }
  return visit_real(x.dtype(), [&]<typename T>() { return static_cast<double>(*x.data<T>()); });
}

}  // namespace ghost
