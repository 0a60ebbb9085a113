#include "ops/cuda/gemm.h"

#include <array>
#include <cublasLt.h>
#include <map>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "engine/device/cuda/devices.h"
#include "engine/device/cuda/stream.h"

namespace ghost::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // as NVIDIA advises for Hopper
constexpr std::int64_t kMostMatrices = 65535;  // of a batch: the z extent of a grid

void check(cublasStatus_t status, std::string_view call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail("{} failed: {}: {}", call, cublasLtGetStatusName(status), cublasLtGetStatusString(status));
  }
}

struct Free {
  void operator()(cublasLtMatmulDesc_t x) const { cublasLtMatmulDescDestroy(x); }
  void operator()(cublasLtMatrixLayout_t x) const { cublasLtMatrixLayoutDestroy(x); }
  void operator()(cublasLtMatmulPreference_t x) const { cublasLtMatmulPreferenceDestroy(x); }
};
template <typename Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Free>;

cudaDataType_t cuda_type(DType dtype) {
  GHOST_CHECK(dtype == DType::kF32 || dtype == DType::kBF16,
              "gemm: dtype {} on a GPU; expected f32 or bf16", dtype_name(dtype));
  return dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
}

// What an address is a multiple of, 256 bytes at most.
std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data) | 256U;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

// The same for all matrices of a batch.
std::uint32_t alignment_of(const Matrix& x, std::int64_t batch) {
  const std::int64_t step = batch > 1 ? x.batch_stride * itemsize(x.dtype) : 0;
  const auto address = reinterpret_cast<std::uintptr_t>(x.data);
  return alignment_of(reinterpret_cast<const void*>(address | static_cast<std::uintptr_t>(step)));
}

// All that the choice of an algorithm depends on.
using Key = std::array<std::int64_t, 21>;

Key key_of(const Gemm& args) {
  Key key = {args.m, args.n, args.k, args.batch, args.beta != 0};
  key[5] = args.bias == nullptr ? 0 : alignment_of(args.bias);
  std::size_t at = 6;
  for (const Matrix* x : {&args.a, &args.b, &args.c}) {
    key[at++] = static_cast<std::int64_t>(x->dtype);
    key[at++] = x->stride;
    key[at++] = x->transpose == Transpose::kYes;
    key[at++] = x->batch_stride;
    key[at++] = alignment_of(*x, args.batch);
  }
  return key;
}

/// A problem as cuBLASLt wants it described, and the algorithm for it.
///
/// cuBLASLt is column-major: our row-major C [m, n] is its C^T [n, m], and C^T = op(B)^T op(A)^T.
/// So B goes first and A second, m and n change places, and each operand keeps its transpose flag.
struct Plan {
  Owned<cublasLtMatmulDesc_t> operation;
  Owned<cublasLtMatrixLayout_t> first;   // B
  Owned<cublasLtMatrixLayout_t> second;  // A
  Owned<cublasLtMatrixLayout_t> result;  // C
  cublasLtMatmulAlgo_t algorithm = {};
};

template <typename Value>
void set(const Plan& plan, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(plan.operation.get(), attribute, &value, sizeof(value)),
        "cublasLtMatmulDescSetAttribute");
}

// op(x) is [rows, cols].
Owned<cublasLtMatrixLayout_t> layout_of(const Matrix& x, std::int64_t rows, std::int64_t cols,
                                        std::int64_t batch) {
  if (x.transpose == Transpose::kYes) {
    std::swap(rows, cols);
  }
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, cuda_type(x.dtype), static_cast<std::uint64_t>(cols),
                                   static_cast<std::uint64_t>(rows), x.stride),
        "cublasLtMatrixLayoutCreate");
  Owned<cublasLtMatrixLayout_t> owned(layout);
  if (batch > 1) {
    const auto count = static_cast<std::int32_t>(batch);
    check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                           sizeof(count)),
          "cublasLtMatrixLayoutSetAttribute");
    check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                           &x.batch_stride, sizeof(x.batch_stride)),
          "cublasLtMatrixLayoutSetAttribute");
  }
  return owned;
}

Owned<cublasLtMatmulPreference_t> preference_of(const Gemm& args) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  Owned<cublasLtMatmulPreference_t> owned(preference);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
  // Where the sum over k is split its parts are added in f32, not in bf16.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(args.b, args.batch));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(args.a, args.batch));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(args.c, args.batch));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(args.c, args.batch));
  return owned;
}

Plan make_plan(cublasLtHandle_t handle, const Gemm& args) {
  cublasLtMatmulDesc_t operation = nullptr;
  check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
  Plan plan{.operation = Owned<cublasLtMatmulDesc_t>(operation),
            .first = layout_of(args.b, args.k, args.n, args.batch),
            .second = layout_of(args.a, args.m, args.k, args.batch),
            .result = layout_of(args.c, args.m, args.n, args.batch)};
  const auto flag = [](const Matrix& x) {
    return x.transpose == Transpose::kYes ? CUBLAS_OP_T : CUBLAS_OP_N;
  };
  set(plan, CUBLASLT_MATMUL_DESC_TRANSA, flag(args.b));
  set(plan, CUBLASLT_MATMUL_DESC_TRANSB, flag(args.a));
  if (args.bias != nullptr) {
    set(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias);
  }
  const auto preference = preference_of(args);
  cublasLtMatmulHeuristicResult_t found{};
  int num_found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, plan.operation.get(), plan.first.get(), plan.second.get(), plan.result.get(),
      plan.result.get(), preference.get(), 1, &found, &num_found);
  GHOST_CHECK(status == CUBLAS_STATUS_SUCCESS && num_found == 1,
              "gemm: cuBLASLt has no algorithm for m {}, n {}, k {} of {} into {} with strides {}, "
              "{}, {}: {}",
              args.m, args.n, args.k, dtype_name(args.a.dtype), dtype_name(args.c.dtype),
              args.a.stride, args.b.stride, args.c.stride, cublasLtGetStatusName(status));
  plan.algorithm = found.algo;
  return plan;
}

/// What a device needs for its products; lives as long as the process.
struct Library {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Key, Plan> plans;
};

Library& library_of(const Device& device) {
  static std::array<Library, kMostDevices> libraries;
  return libraries.at(static_cast<std::size_t>(device.index));
}

// The same for the matrices behind the first `count`.
Matrix behind(Matrix x, std::int64_t count) {
  x.data = static_cast<std::byte*>(x.data) + count * x.batch_stride * itemsize(x.dtype);
  return x;
}

}  // namespace

void gemm(const Device& device, const Gemm& args) {
  if (args.batch > kMostMatrices) {
    Gemm part = args;
    part.batch = kMostMatrices;
    gemm(device, part);
    part.batch = args.batch - kMostMatrices;
    part.a = behind(args.a, kMostMatrices);
    part.b = behind(args.b, kMostMatrices);
    part.c = behind(args.c, kMostMatrices);
    gemm(device, part);
    return;
  }
  GHOST_CHECK(args.a.dtype == args.b.dtype, "gemm: operands are {} and {}; expected one dtype",
              dtype_name(args.a.dtype), dtype_name(args.b.dtype));
  GHOST_CHECK(args.k > 0, "gemm: m {}, n {}, k {}; expected k to be positive", args.m, args.n,
              args.k);
  if (args.m == 0 || args.n == 0 || args.batch == 0) {
    return;
  }
  const cudaStream_t stream = stream_of(device);
  Library& library = library_of(device);
  const std::lock_guard lock(library.mutex);
  if (library.handle == nullptr) {
    check(cublasLtCreate(&library.handle), "cublasLtCreate");
    check(cudaMalloc(&library.workspace, kWorkspaceBytes), "cudaMalloc");
  }
  const Key key = key_of(args);
  auto found = library.plans.find(key);
  if (found == library.plans.end()) {
    found = library.plans.emplace(key, make_plan(library.handle, args)).first;
  }
  const Plan& plan = found->second;
  if (args.bias != nullptr) {
    set(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias);
  }
  check(cublasLtMatmul(library.handle, plan.operation.get(), &args.alpha, args.b.data,
                       plan.first.get(), args.a.data, plan.second.get(), &args.beta, args.c.data,
                       plan.result.get(), args.c.data, plan.result.get(), &plan.algorithm,
                       library.workspace, kWorkspaceBytes, stream),
        "cublasLtMatmul");
}

}  // namespace ghost::cuda
