// The GPU's form of ssd, run on the CPU step by step, against the CPU's kernels.

#include "engine/tensor/primitives.h"
#include "ops/cuda/chunked/ssd_pass.h"
#include "tests/support/catch.h"
#include "tests/support/host_launch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::HostLaunch;
using test::normal;
using test::relative_difference;

struct Case {
  SsdShape shape;
  std::int64_t batch = 1;
  std::int64_t seq_len = 1;
  std::int64_t chunk = 4;
  std::int64_t basis = 1;
  bool has_options = true;  // D, dt_bias, an initial state
};

/// Everything that a call takes and returns; weights and states in f32 where `dtype` is bf16.
struct Arrays {
  SsdInputs in;
  Tensor y;
  Tensor final_state;
  Tensor dy;
  Tensor dfinal_state;
  Tensor dxbc;
  Tensor ddt;
  Tensor dinitial_state;
  Tensor da_log;
  Tensor dd;
  Tensor ddt_bias;

  SsdForward forward() const { return {.in = in, .y = y, .final_state = final_state}; }
  SsdBackward backward() const {
    return {.in = in,
            .dy = dy,
            .dfinal_state = dfinal_state,
            .dxbc = dxbc,
            .ddt = ddt,
            .dinitial_state = dinitial_state,
            .da_log = {.grad = da_log, .accumulate = true},
            .dd = {.grad = dd, .accumulate = true},
            .ddt_bias = {.grad = ddt_bias, .accumulate = true}};
  }
};

Arrays arrays_of(const Context& ctx, const Case& test_case, DType dtype) {
  const SsdShape& shape = test_case.shape;
  const auto as = [&](const Tensor& x, DType to) {
    Tensor out = ctx.empty(x.shape(), to);
    cast(out, x);
    return out;
  };
  const auto random = [&](const Shape& size, std::uint64_t seed) {
    return as(normal(size, seed), dtype);
  };
  const DType precise = statistic_dtype(dtype);
  const auto poisoned = [&](const Shape& size, DType of) {
    Tensor out = ctx.empty(size, of);
    std::fill_n(out.raw(), out.bytes(), std::byte{0xff});
    return out;
  };
  const Shape xbc{test_case.batch, test_case.seq_len, shape.packed_width()};
  const Shape dt = xbc.with_last(shape.heads);
  const Shape y = xbc.with_last(shape.inner());
  const Shape state{test_case.batch, shape.heads, shape.head_dim, shape.state};
  const Shape heads{shape.heads};
  const bool has_options = test_case.has_options;
  const auto gradient = [&](bool is_there) {
    return is_there && test_case.basis == 1 ? as(normal(heads, 20), precise) : Tensor{};
  };
  return {.in = {.config = {.shape = shape, .chunk = test_case.chunk},
                 .xbc = random(xbc, 1),
                 .dt = random(dt, 2),
                 .weights = {.a_log = as(normal(heads, 3), precise),
                             .d = has_options ? as(normal(heads, 4), precise) : Tensor{},
                             .dt_bias = has_options ? as(normal(heads, 5), precise) : Tensor{}},
                 .initial_state = has_options ? as(normal(state, 6), precise) : Tensor{}},
          .y = poisoned(y, dtype),
          .final_state = poisoned(state, precise),
          .dy = random(y.with_first(test_case.basis), 7),
          .dfinal_state = as(normal(state.with_first(test_case.basis), 8), precise),
          .dxbc = poisoned(xbc.with_first(test_case.basis), dtype),
          .ddt = poisoned(dt.with_first(test_case.basis), dtype),
          .dinitial_state =
              has_options ? poisoned(state.with_first(test_case.basis), precise) : Tensor{},
          .da_log = gradient(true),
          .dd = gradient(has_options),
          .ddt_bias = gradient(has_options)};
}

void run_cpu(const Context& ctx, Arrays& arrays) {
  const SsdShape& shape = arrays.in.config.shape;
  const std::int64_t batch = arrays.in.xbc.dim(0);
  const std::int64_t seq_len = arrays.in.xbc.dim(1);
  arrays.in.config.chunk = 0;
  cpu::ssd(arrays.forward());
  const std::int64_t chunk = std::min<std::int64_t>(seq_len, 64);
  const std::int64_t num_chunks = (seq_len + chunk - 1) / chunk;
  arrays.in.config.chunk = chunk;
  SsdBackward args = arrays.backward();
  const auto empty = [&](const Shape& size) { return ctx.empty(size, DType::kF64); };
  const std::int64_t basis = args.dy.dim(0);
  args.work = {.steps = empty({batch, shape.heads, seq_len}),
               .log_decays = empty({batch, shape.heads, seq_len}),
               .states = empty({batch, num_chunks + 1, shape.heads, shape.head_dim, shape.state}),
               .scratch = empty({cpu::ssd_scratch(shape, chunk, DType::kF64)})};
  args.dstates = empty({basis, batch, num_chunks + 1, shape.heads, shape.head_dim, shape.state});
  args.dlog_decay = empty({basis, batch, num_chunks, shape.heads});
  args.partial = empty({3, batch * num_chunks, shape.heads});
  cpu::ssd(args);
}

template <typename T, int kLanes = 1>
void check(const Case& test_case, double tolerance) {
  const Context ctx(Device{});
  Arrays expected = arrays_of(ctx, test_case, DType::kF64);
  run_cpu(ctx, expected);
  const Arrays got = arrays_of(ctx, test_case, kDTypeOf<T>);
  const HostLaunch<kLanes> launch(ctx);
  cuda::ssd_pass<T>(launch, got.forward());
  cuda::ssd_pass<T>(launch, got.backward());
  const auto compare = [&](const char* name, const Tensor& a, const Tensor& b) {
    INFO(name);
    if (a.defined()) {
      CHECK(relative_difference(a, b) <= tolerance);
    }
  };
  INFO("B = " << test_case.batch << ", T = " << test_case.seq_len << ", L = " << test_case.chunk
              << ", P = " << test_case.basis << ", H = " << test_case.shape.heads << " in "
              << dtype_name(kDTypeOf<T>));
  compare("y", got.y, expected.y);
  compare("final_state", got.final_state, expected.final_state);
  compare("dxbc", got.dxbc, expected.dxbc);
  compare("ddt", got.ddt, expected.ddt);
  compare("dinitial_state", got.dinitial_state, expected.dinitial_state);
  compare("da_log", got.da_log, expected.da_log);
  compare("dd", got.dd, expected.dd);
  compare("ddt_bias", got.ddt_bias, expected.ddt_bias);
}

constexpr SsdShape kGrouped{.heads = 4, .head_dim = 3, .groups = 2, .state = 2};
constexpr SsdShape kOneGroup{.heads = 3, .head_dim = 5, .groups = 1, .state = 7};

TEST_CASE("ssd in the steps of a GPU equals the CPU's", "[ops]") {
  for (const SsdShape& shape : {SsdShape{}, kGrouped, kOneGroup}) {
    for (const std::int64_t seq_len : {1, 2, 8, 9, 37}) {
      for (const std::int64_t chunk : {0, 1, 4, 11, 1000}) {
        check<float>({.shape = shape, .batch = 2, .seq_len = seq_len, .chunk = chunk}, 2e-5);
      }
    }
  }
}

TEST_CASE("ssd in the steps of a GPU takes several cotangents and none of the options", "[ops]") {
  check<float>({.shape = kGrouped, .batch = 2, .seq_len = 13, .basis = 3}, 2e-5);
  check<float>({.shape = kGrouped, .batch = 2, .seq_len = 13, .has_options = false}, 2e-5);
}

TEST_CASE("ssd in the steps of a GPU works on a few batch entries at a time", "[ops]") {
  const SsdShape shape{.heads = 2, .state = 2};
  check<float>({.shape = shape, .batch = 3, .seq_len = 4100, .chunk = 16}, 1e-4);
  check<float>({.shape = shape, .batch = 3, .seq_len = 4100, .chunk = 16, .basis = 2}, 1e-4);
}

TEST_CASE("ssd in the steps of a GPU shares rows between lanes", "[ops]") {
  check<float, 3>({.shape = kOneGroup, .seq_len = 7, .chunk = 5}, 2e-5);
}

// The cases of ssd_test.cpp, which a GPU runs in bf16 as well.
TEST_CASE("ssd in the steps of a GPU equals the CPU's in bf16", "[ops]") {
  for (const SsdShape& shape :
       {SsdShape{}, kGrouped, SsdShape{.heads = 3, .head_dim = 2, .groups = 3, .state = 5},
        SsdShape{.heads = 3, .head_dim = 5, .groups = 1, .state = 3}}) {
    check<BFloat16>({.shape = shape, .batch = 2, .seq_len = 5, .chunk = 3}, 3e-2);
    check<BFloat16>({.shape = shape, .seq_len = 1}, 3e-2);
  }
  check<BFloat16>({.seq_len = 140, .chunk = 70}, 3e-2);
}

}  // namespace
}  // namespace ghost
