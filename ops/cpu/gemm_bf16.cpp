#include <map>
#include <omp.h>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "engine/core/error.h"
#include "ops/cpu/gemm.h"

namespace ghost::cpu {
namespace {

using Type = dnnl::memory::data_type;

/// All that a product's code depends on.
struct Plan {
  GemmSize size;
  std::int64_t a_stride;
  std::int64_t b_stride;
  std::int64_t c_stride;
  bool is_a_transposed;
  bool is_b_transposed;
  bool is_c_f32;
  bool is_inside;  // of a parallel region: such code is of one thread
  float alpha;
  float beta;

  auto key() const {
    return std::tie(size.m, size.n, size.k, a_stride, b_stride, c_stride, is_a_transposed,
                    is_b_transposed, is_c_f32, is_inside, alpha, beta);
  }
  bool operator<(const Plan& other) const { return key() < other.key(); }
};

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc layout(std::int64_t rows, std::int64_t cols, Type type, std::int64_t stride,
                          bool is_transposed) {
  return {{rows, cols},
          type,
          is_transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1}};
}

/// A product ready to run: its code and handles on the operands, which take their addresses then.
class Product {
 public:
  explicit Product(const Plan& plan)
      : Product(plan,
                layout(plan.size.m, plan.size.k, Type::bf16, plan.a_stride, plan.is_a_transposed),
                layout(plan.size.k, plan.size.n, Type::bf16, plan.b_stride, plan.is_b_transposed),
                layout(plan.size.m, plan.size.n, plan.is_c_f32 ? Type::f32 : Type::bf16,
                       plan.c_stride, false)) {}

  void run(const void* a, const void* b, void* c) {
    // oneDNN's handles have no const.
    a_.set_data_handle(const_cast<void*>(a));
    b_.set_data_handle(const_cast<void*>(b));
    c_.set_data_handle(c);
    matmul_.execute(stream_, args_);
  }

 private:
  Product(const Plan& plan, const dnnl::memory::desc& a, const dnnl::memory::desc& b,
          const dnnl::memory::desc& c)
      : matmul_(dnnl::matmul::primitive_desc({a, b, c}, attributes(plan), cpu_engine())),
        stream_(cpu_engine()),
        a_(a, cpu_engine(), nullptr),
        b_(b, cpu_engine(), nullptr),
        c_(c, cpu_engine(), nullptr),
        args_{{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}} {}

  static dnnl::primitive_attr attributes(const Plan& plan) {
    dnnl::post_ops ops;
    if (plan.alpha != 1) {  // a scale of the output would do, but takes six times as long
      ops.append_eltwise(1, dnnl::algorithm::eltwise_linear, plan.alpha, 0);
    }
    if (plan.beta != 0) {
      ops.append_sum(plan.beta);
    }
    dnnl::primitive_attr out;
    out.set_post_ops(ops);
    return out;
  }

  dnnl::matmul matmul_;
  dnnl::stream stream_;
  dnnl::memory a_;
  dnnl::memory b_;
  dnnl::memory c_;
  std::unordered_map<int, dnnl::memory> args_;  // shares what a_, b_ and c_ point to
};

/// Of each thread its own, as running sets addresses.
Product& product_of(const Plan& plan) {
  constexpr std::size_t kMost = 1024;  // a step of the largest models here has some fifty
  thread_local std::map<Plan, Product> products;
  if (const auto found = products.find(plan); found != products.end()) {
    return found->second;
  }
  if (products.size() >= kMost) {
    products.clear();
  }
  return products.try_emplace(plan, plan).first->second;
}

/// oneDNN's names of instruction sets are sets of bits.
bool has_all_of(dnnl::cpu_isa wanted) {
  const auto bits = static_cast<unsigned>(wanted);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

bool has_bf16_products() {
  static const bool has = has_all_of(dnnl::cpu_isa::avx512_core_bf16);
  return has;
}

std::vector<float> widened(const Matrix<const BFloat16>& x, std::int64_t rows, std::int64_t cols) {
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  float* to = out.data();
  for (std::int64_t row = 0; row < rows; ++row, to += cols) {
    const BFloat16* from = x.data + row * x.stride;
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      to[c] = widen(from[c]);
    }
  }
  return out;
}

/// A copy of x in f32, and the operand it is.
struct Widened {
  std::vector<float> values;
  Matrix<const float> matrix;

  Widened(const Matrix<const BFloat16>& x, std::int64_t rows, std::int64_t cols)
      : values(x.transpose == Transpose::kYes ? widened(x, cols, rows) : widened(x, rows, cols)),
        matrix{values.data(), x.transpose == Transpose::kYes ? rows : cols, x.transpose} {}
};

template <typename C>
void multiply(const GemmSize& size, float alpha, const Matrix<const BFloat16>& a,
              const Matrix<const BFloat16>& b, float beta, const Matrix<C>& c) {
  product_of({.size = size,
              .a_stride = a.stride,
              .b_stride = b.stride,
              .c_stride = c.stride,
              .is_a_transposed = a.transpose == Transpose::kYes,
              .is_b_transposed = b.transpose == Transpose::kYes,
              .is_c_f32 = std::is_same_v<C, float>,
              .is_inside = omp_in_parallel() != 0,
              .alpha = alpha,
              .beta = beta})
      .run(a.data, b.data, c.data);
}

}  // namespace

void gemm(const GemmSize& size, float alpha, const Matrix<const BFloat16>& a,
          const Matrix<const BFloat16>& b, float beta, const Matrix<float>& c) {
  if (has_bf16_products()) {
    multiply(size, alpha, a, b, beta, c);
    return;
  }
  const Widened left(a, size.m, size.k);
  const Widened right(b, size.k, size.n);
  gemm(size, alpha, left.matrix, right.matrix, beta, c);
}

void gemm(const GemmSize& size, float alpha, const Matrix<const BFloat16>& a,
          const Matrix<const BFloat16>& b, float beta, const Matrix<BFloat16>& c) {
  GHOST_CHECK(beta == 0, "product in bf16 with beta {}; expected 0", beta);
  if (has_bf16_products()) {
    multiply(size, alpha, a, b, beta, c);
    return;
  }
  std::vector<float> sums(static_cast<std::size_t>(size.m * size.n));
  gemm(size, alpha, a, b, 0, Matrix<float>{sums.data(), size.n});
  for (std::int64_t row = 0; row < size.m; ++row) {
    const float* from = sums.data() + row * size.n;
    BFloat16* to = c.data + row * c.stride;
#pragma omp simd
    for (std::int64_t i = 0; i < size.n; ++i) {
      put(to[i], from[i]);
    }
  }
}

std::string bf16_gemm_path() {
  if (has_all_of(dnnl::cpu_isa::avx512_core_amx)) {
    return "AMX";
  }
  return has_bf16_products() ? "AVX512-BF16" : "f32";
}

}  // namespace ghost::cpu
