#include "engine/tensor/primitives.h"

#include <cstring>
#include <type_traits>

#include "engine/device/dispatch.h"
#include "engine/tensor/cuda/primitives.h"
#include "engine/tensor/host.h"

namespace ghost {
namespace {

void check_pair(const char* what, const Tensor& destination, const Tensor& source) {
  GHOST_CHECK(destination.numel() == source.numel(), "shape mismatch in {}: {} against {}", what,
              destination.shape(), source.shape());
}

void check_device(const char* what, const Tensor& destination, const Tensor& source) {
  GHOST_CHECK(destination.device() == source.device() || destination.device().is_dry,
              "{} from {} to {}; expected one device", what, source.device().name(),
              destination.device().name());
}

/// Below this many elements a parallel region costs more than it saves.
constexpr std::int64_t kParallelElements = 1 << 14;

void fill_bytes_with_zero(const Tensor& x) {
  std::byte* bytes = x.raw();
  const std::int64_t size = x.bytes();
  constexpr std::int64_t kPiece = 1 << 16;
#pragma omp parallel for schedule(static) if (size > 4 * kParallelElements)
  for (std::int64_t begin = 0; begin < size; begin += kPiece) {
    std::memset(bytes + begin, 0, static_cast<std::size_t>(std::min(kPiece, size - begin)));
  }
}

void convert_elements(const Tensor& destination, const Tensor& source) {
  const std::int64_t n = source.numel();
  const auto convert = [n]<typename To, typename From>(To* to, const From* from) {
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      put(to[i], static_cast<float>(from[i]));
    }
  };
  const DType to = destination.dtype();
  const DType from = source.dtype();
  if (to == DType::kBF16) {
    visit_real(from,
               [&]<typename T>() { convert(destination.data<BFloat16>(), source.data<T>()); });
  } else if (from == DType::kBF16) {
    visit_real(to, [&]<typename T>() { convert(destination.data<T>(), source.data<BFloat16>()); });
  } else if (to == DType::kF32) {
    convert(destination.data<float>(), source.data<double>());
  } else {
    convert(destination.data<double>(), source.data<float>());
  }
}

void add_elements(const Tensor& destination, const Tensor& source) {
  const std::int64_t n = source.numel();
  const auto add = [n]<typename To, typename From>(To* to, const From* from) {
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      put(to[i], widen(to[i]) + widen(from[i]));
    }
  };
  visit_floating(destination.dtype(), [&]<typename To>() {
    visit_floating(source.dtype(), [&]<typename From>() {
      if constexpr (std::is_same_v<RealOf<To>, RealOf<From>>) {
        add(destination.data<To>(), source.data<From>());
      } else {
        fail("accumulate of {} to {}; expected one dtype, or f32 and bf16",
             dtype_name(source.dtype()), dtype_name(destination.dtype()));
      }
    });
  });
}

void multiply_elements(const Tensor& x, double factor) {
  const std::int64_t n = x.numel();
  visit_floating(x.dtype(), [&]<typename T>() {
    T* values = x.data<T>();
    const auto f = static_cast<RealOf<T>>(factor);
#pragma omp parallel for simd schedule(static) if (n > kParallelElements)
    for (std::int64_t i = 0; i < n; ++i) {
      put(values[i], widen(values[i]) * f);
    }
  });
}

}  // namespace

void fill_zero(const Tensor& x) {
  dispatch(
      x.device(), [&] { fill_bytes_with_zero(x); }, [&] { cuda::fill_zero(x); });
}

void fill(const Tensor& x, double value) {
  dispatch(
      x.device(),
      [&] {
        visit_floating(x.dtype(), [&]<typename T>() {
          T element;
          put(element, static_cast<RealOf<T>>(value));
          std::fill_n(x.data<T>(), x.numel(), element);
        });
      },
      [&] { cuda::fill(x, value); });
}

void copy(const Tensor& destination, const Tensor& source) {
  check_pair("copy", destination, source);
  GHOST_CHECK(destination.dtype() == source.dtype(), "copy from {} to {}; expected one dtype",
              dtype_name(source.dtype()), dtype_name(destination.dtype()));
  if (destination.raw() == source.raw() || source.device().is_dry) {
    return;
  }
  const Tensor& leading = source.device().is_cuda() ? source : destination;
  dispatch(
      leading.device(),
      [&] {
        std::memcpy(destination.raw(), source.raw(), static_cast<std::size_t>(source.bytes()));
      },
      [&] { cuda::copy(destination, source); });
}

void cast(const Tensor& destination, const Tensor& source) {
  check_pair("cast", destination, source);
  if (destination.dtype() == source.dtype()) {
    copy(destination, source);
    return;
  }
  GHOST_CHECK(is_floating(destination.dtype()) && is_floating(source.dtype()),
              "cast from {} to {}; expected f32, f64 or bf16", dtype_name(source.dtype()),
              dtype_name(destination.dtype()));
  check_device("cast", destination, source);
  dispatch(
      destination.device(), [&] { convert_elements(destination, source); },
      [&] { cuda::cast(destination, source); });
}

void accumulate(const Tensor& destination, const Tensor& source) {
  check_pair("accumulate", destination, source);
  check_device("accumulate", destination, source);
  dispatch(
      destination.device(), [&] { add_elements(destination, source); },
      [&] { cuda::accumulate(destination, source); });
}

void scale(const Tensor& x, double factor) {
  if (factor == 1.0) {
    return;
  }
  dispatch(
      x.device(), [&] { multiply_elements(x, factor); }, [&] { cuda::scale(x, factor); });
}

double item(const Tensor& x) {
  GHOST_CHECK(x.numel() == 1, "item of a tensor of shape {}; expected one element", x.shape());
  if (x.device().is_dry) {
    return 0;
  }
  const Tensor host = on_host(x);
  return visit_floating(x.dtype(), [&]<typename T>() { return to_double(*host.data<T>()); });
}

}  // namespace ghost
