#pragma once

#include <algorithm>

#include "ops/cuda/chunked/pass.h"
#include "ops/cuda/chunked/ssd_steps.h"
#include "ops/ssd_kernels.h"

namespace ghost::cuda {

/// The inputs of a call from one batch entry on, and their sizes for `entries` of them.
template <typename T>
struct SsdSlab {
  SsdSteps<T> steps;
  const T* xbc;
  const float* initial;
  SsdRows rows;
  HeadRows x_rows;
  ChunkSizes n;

  SsdSlab(const SsdInputs& in, std::int64_t begin, std::int64_t entries)
      : n{.entries = entries,
          .seq_len = in.xbc.dim(1),
          .heads = in.config.shape.heads,
          .ranks = 1,
          .head_dim = in.config.shape.head_dim,
          .state = in.config.shape.state,
          .chunk = in.config.chunk > 0 ? in.config.chunk : SsdConfig{}.chunk} {
    const SsdConfig& config = in.config;
    n.chunk = std::min(n.chunk, n.seq_len);
    rows = {.groups = config.shape.groups, .width = config.shape.packed_width()};
    x_rows = {.token_stride = rows.width, .rank_stride = 0};
    steps = {.dt = in.dt.data<T>() + begin * n.seq_len * n.heads,
             .a_log = in.weights.a_log.data<float>(),
             .dt_bias = pointer<float>(in.weights.dt_bias),
             .rule = {.has_softplus = config.has_softplus,
                      .low = static_cast<float>(config.dt_min),
                      .high = static_cast<float>(config.dt_max)}};
    xbc = in.xbc.data<T>() + begin * n.seq_len * rows.width;
    initial = in.initial_state.defined()
                  ? in.initial_state.data<float>() + begin * n.heads * n.head_state()
                  : nullptr;
  }
};

/// Everything up to the states; q_decayed only where it is not null.
template <typename T, typename Launch>
void prepare_ssd(const Launch& launch, const SsdSlab<T>& slab, const Chunked<T>& c, T* q_decayed,
                 float* final_state) {
  const ChunkSizes& n = c.n;
  launch.each(
      n.tokens(),
      SsdTokens<T>{.steps = slab.steps, .sigma = c.sigma, .log_decays = c.log_decays, .n = n});
  launch.each(n.tokens(), SumDecays{.log_decays = c.log_decays, .sums = c.sums, .n = n});
  launch.rows(n.rows(), SsdKeys<T>{.xbc = slab.xbc,
                                   .sums = c.sums,
                                   .q = c.q,
                                   .q_decayed = q_decayed,
                                   .k = c.k,
                                   .rows = slab.rows,
                                   .n = n});
  launch.rows(n.rows(), PackRows<T>{.from = slab.xbc,
                                    .sums = c.sums,
                                    .packed = c.x,
                                    .decayed = nullptr,
                                    .rows = slab.x_rows,
                                    .n = n});
  make_states(launch, c, slab.initial, final_state);
}

template <typename T, typename Launch>
void ssd_recurrence(const Launch& launch, const SsdForward& args) {
  const SsdSlab<T> slab(args.in, /*begin=*/0, args.in.xbc.dim(0));
  launch.rows(slab.n.entries * slab.n.heads * slab.n.head_dim,
              SsdRecurrence<T>{.steps = slab.steps,
                               .xbc = slab.xbc,
                               .skip = pointer<float>(args.in.weights.d),
                               .initial = slab.initial,
                               .y = args.y.data<T>(),
                               .final_state = args.final_state.data<float>(),
                               .rows = slab.rows,
                               .n = slab.n});
}

/// In chunks, whatever config.chunk says, but for one token.
template <typename T, typename Launch>
void ssd_pass(const Launch& launch, const SsdForward& args) {
  const std::int64_t batch = args.in.xbc.dim(0);
  if (args.in.xbc.dim(1) == 1) {
    ssd_recurrence<T>(launch, args);
    return;
  }
  const std::int64_t at_once = entries_at_once(batch, args.in.xbc.dim(1));
  Scratch scratch(launch.context());
  const ChunkSizes sizes = SsdSlab<T>(args.in, /*begin=*/0, at_once).n;
  Chunked<T> c(scratch, sizes);
  c.skip = pointer<float>(args.in.weights.d);
  T* q_decayed = scratch.take<T>(sizes.rows() * sizes.state);
  float* o = scratch.take<float>(sizes.rows() * sizes.head_dim);
  for (std::int64_t begin = 0; begin < batch; begin += at_once) {
    const SsdSlab<T> slab(args.in, begin, std::min(at_once, batch - begin));
    c.n = slab.n;
    prepare_ssd(launch, slab, c, q_decayed,
                args.final_state.data<float>() + begin * c.n.heads * c.n.head_state());
    make_outputs(launch, c, q_decayed, o);
    launch.rows(c.n.rows(), UnpackRows<T>{.packed = o,
                                          .to = args.y.data<T>() +
                                                begin * c.n.seq_len * c.n.heads * c.n.head_dim,
                                          .rows = contiguous_rows(c.n),
                                          .n = c.n});
  }
}

/// One cotangent of one slab; `row` is the slab's first entry among those of all cotangents, parts
/// point at [3] planes of blocks, `plane` apart, or nowhere.
template <typename T, typename Launch>
void pull_back_ssd(const Launch& launch, const SsdBackward& args, const SsdSlab<T>& slab,
                   const Chunked<T>& c, const ChunkedCotangents<T>& d, std::int64_t row,
                   float* parts, std::int64_t plane) {
  const ChunkSizes& n = c.n;
  const std::int64_t tokens = row * n.seq_len;
  const HeadRows y_rows = contiguous_rows(n);
  T* dxbc = args.dxbc.data<T>() + tokens * slab.rows.width;
  pull_back(launch, c, d, args.dy.data<T>() + tokens * y_rows.token_stride, y_rows,
            args.dfinal_state.data<float>() + row * n.heads * n.head_state());
  launch.rows(n.rows(), UnpackRows<T>{.packed = d.dx, .to = dxbc, .rows = slab.x_rows, .n = n});
  launch.rows(n.entries * n.seq_len * slab.rows.groups,
              SsdKeyCotangents<T>{.dq = d.dq, .dk = d.dk, .dxbc = dxbc, .rows = slab.rows, .n = n});
  launch.rows(n.blocks(),
              SsdScalars<T>{.steps = slab.steps,
                            .da = d.da,
                            .dsigma = d.dsigma,
                            .dgamma = d.dgamma,
                            .dskip = d.dskip,
                            .ddt = args.ddt.data<T>() + tokens * n.heads,
                            .da_log_part = parts,
                            .dskip_part = parts == nullptr ? nullptr : parts + plane,
                            .ddt_bias_part = parts == nullptr ? nullptr : parts + 2 * plane,
                            .n = n});
  if (args.dinitial_state.defined()) {
    launch.each(n.states(), CopyNumbers{.from = d.dinitial,
                                        .to = args.dinitial_state.data<float>() +
                                              row * n.heads * n.head_state()});
  }
}

template <typename T, typename Launch>
void ssd_pass(const Launch& launch, const SsdBackward& args) {
  const std::int64_t batch = args.in.xbc.dim(0);
  const std::int64_t basis = args.dy.dim(0);
  const std::int64_t at_once = entries_at_once(batch, args.in.xbc.dim(1));
  Scratch scratch(launch.context());
  const ChunkSizes sizes = SsdSlab<T>(args.in, /*begin=*/0, at_once).n;
  Chunked<T> c(scratch, sizes);
  c.skip = pointer<float>(args.in.weights.d);
  const ChunkedCotangents<T> d(launch, scratch, c, /*is_kept=*/basis > 1);
  const std::int64_t blocks_of_entry = sizes.num_chunks() * sizes.heads;
  const Tensor parts =
      launch.context().empty({3, batch * sizes.num_chunks(), sizes.heads}, DType::kF32);
  const bool has_parts =
      args.da_log.grad.defined() || args.dd.grad.defined() || args.ddt_bias.grad.defined();
  for (std::int64_t begin = 0; begin < batch; begin += at_once) {
    const SsdSlab<T> slab(args.in, begin, std::min(at_once, batch - begin));
    c.n = slab.n;
    prepare_ssd<T>(launch, slab, c, /*q_decayed=*/nullptr, /*final_state=*/nullptr);
    make_scores(launch, c);
    for (std::int64_t p = 0; p < basis; ++p) {
      pull_back_ssd(launch, args, slab, c, d, p * batch + begin,
                    has_parts ? parts.data<float>() + begin * blocks_of_entry : nullptr,
                    batch * blocks_of_entry);
    }
  }
  for (std::int64_t i = 0;
       const SsdHeadGradient* gradient : {&args.da_log, &args.dd, &args.ddt_bias}) {
    if (gradient->grad.defined()) {
      launch.add_parts(parts.slice(i, i + 1), gradient->grad, gradient->accumulate);
    }
    ++i;
  }
}

}  // namespace ghost::cuda
