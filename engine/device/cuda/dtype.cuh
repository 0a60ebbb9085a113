#pragma once

#include <cuda_bf16.h>
#include <string_view>
#include <type_traits>

#include "engine/tensor/tensor.h"

namespace ghost::cuda {

/// The DType that kernels see as T, float or __nv_bfloat16; integers are as on the CPU.
template <typename T>
inline constexpr DType kGpuDType = kDTypeOf<T>;
template <>
inline constexpr DType kGpuDType<__nv_bfloat16> = DType::kBF16;

/// Elements of a tensor on a GPU; null for an undefined one. Throws when T is not its dtype.
template <typename T>
T* elements(const Tensor& x) {
  if (!x.defined()) {
    return nullptr;
  }
  GHOST_CHECK(kGpuDType<T> == x.dtype(), "a kernel got a tensor of dtype {}; expected {}",
              dtype_name(x.dtype()), dtype_name(kGpuDType<T>));
  return reinterpret_cast<T*>(x.raw());
}

/// Calls `visit.template operator()<T>()` with float or __nv_bfloat16; `name` is the op's.
template <typename Visit>
decltype(auto) visit_gpu_real(DType dtype, std::string_view name, Visit&& visit) {
  GHOST_CHECK(dtype != DType::kF64, "{}: f64 runs on the CPU only", name);
  GHOST_CHECK(dtype == DType::kF32 || dtype == DType::kBF16,
              "{}: dtype {} has no CUDA kernels; expected f32 or bf16", name, dtype_name(dtype));
  if (dtype == DType::kF32) {
    return visit.template operator()<float>();
  }
  return visit.template operator()<__nv_bfloat16>();
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

/// Rounds to nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(x);
  } else {
    static_assert(std::is_same_v<T, float>);
    return x;
  }
}

}  // namespace ghost::cuda
