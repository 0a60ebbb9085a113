#include "engine/autograd/context.h"

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("drawing ops are numbered in order", "[autograd]") {
  Context ctx(Device{});
  ctx.begin_pass(/*seed=*/1, /*step=*/2, /*micro_step=*/3, /*rank=*/4);
  const RandomStream first = ctx.next_stream(Purpose::kDropout);
  CHECK(first.seed == 1);
  CHECK(first.step == 2);
  CHECK(first.micro_step == 3);
  CHECK(first.rank == 4);
  CHECK(first.site == 0);
  CHECK(first.purpose == Purpose::kDropout);
  CHECK(ctx.next_stream(Purpose::kDropout).site == 1);
  CHECK(ctx.site() == 2);
  ctx.begin_pass(1, 2);
  CHECK(ctx.next_stream(Purpose::kDropout).site == 0);
}

TEST_CASE("the residual store's draws have numbers of their own", "[autograd]") {
  Context ctx(Device{});
  ctx.begin_pass(1, 2);
  CHECK(ctx.next_stream(Purpose::kRounding).site == 0);
  CHECK(ctx.next_stream(Purpose::kDropout).site == 0);
  ctx.set_site(0);
  CHECK(ctx.next_stream(Purpose::kRounding).site == 1);  // never twice in a pass
  ctx.begin_pass(1, 3);
  CHECK(ctx.next_stream(Purpose::kRounding).site == 0);
}

TEST_CASE("scopes spell the path of a module", "[autograd]") {
  Context ctx(Device{});
  CHECK(ctx.module().empty());
  {
    const Context::Scope blocks(ctx, "blocks");
    const Context::Scope nothing(ctx, "");
    const Context::Scope block(ctx, "0.mlp");
    CHECK(ctx.module() == "blocks.0.mlp");
  }
  CHECK(ctx.module().empty());
}

TEST_CASE("contexts share memory when they are told to", "[autograd]") {
  Context ctx(Device{});
  Context other(ctx.allocator());
  const Tensor x = other.zeros({16}, DType::kF32, MemoryTag::kBatch);
  CHECK(ctx.meter().current(MemoryTag::kBatch) == 64);
  CHECK(x.data<float>()[15] == 0);
}

TEST_CASE("dispatch runs kernels on the CPU and nothing on a dry device", "[autograd]") {
  int runs = 0;
  dispatch(Context(Device{}), [&] { ++runs; });
  CHECK(runs == 1);
  dispatch(Context(Device{.is_dry = true}), [&] { ++runs; });
  CHECK(runs == 1);
}

TEST_CASE("draws that the counter cannot number are refused", "[autograd]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(ctx.begin_pass(1, 5, 256, 0),
                    "random draws for step 5, micro-step 256, rank 0; micro-steps and ranks are "
                    "counted to 255");
  CHECK_THROWS_WITH(ctx.begin_pass(1, 5, 0, 256),
                    "random draws for step 5, micro-step 0, rank 256; micro-steps and ranks are "
                    "counted to 255");
  ctx.set_site(65536);
  CHECK_THROWS_WITH(ctx.next_stream(Purpose::kDropout),
                    "more than 65536 ops of one forward pass draw random numbers");
}

}  // namespace
}  // namespace ghost
