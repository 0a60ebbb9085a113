#pragma once

#include <algorithm>

#include "ops/cuda/chunked/mamba3_backward_steps.h"
#include "ops/cuda/chunked/pass.h"
#include "ops/mamba3_core_kernels.h"

namespace ghost::cuda {

/// The elements of a tensor from one row of its first dimension on, or null.
template <typename T>
T* pointer_from(const Tensor& x, std::int64_t row) {
  return x.defined() ? x.data<T>() + row * (x.numel() / x.dim(0)) : nullptr;
}

inline ChunkSizes chunk_sizes(const Mamba3Size& size, std::int64_t entries) {
  return {.entries = entries,
          .seq_len = size.seq_len,
          .heads = size.heads,
          .ranks = size.ranks,
          .head_dim = size.head_dim,
          .state = size.state,
          .chunk = std::min(size.chunk, size.seq_len)};
}

template <typename T>
Mamba3Arrays<T> arrays_from(const Mamba3CoreInput& in, const Mamba3Size& size,
                            RotaryPairing pairing, std::int64_t begin) {
  return {.q = pointer_from<T>(in.q, begin),
          .k = pointer_from<T>(in.k, begin),
          .v = pointer_from<T>(in.v, begin),
          .a = pointer_from<float>(in.a, begin),
          .dt = pointer_from<float>(in.dt, begin),
          .trap = pointer_from<T>(in.trap, begin),
          .angle = pointer_from<T>(in.angle, begin),
          .q_bias = pointer<float>(in.q_bias),
          .k_bias = pointer<float>(in.k_bias),
          .mimo_x = pointer<T>(in.mimo_x),
          .initial_angle = pointer_from<float>(in.initial.angle, begin),
          .initial_ssm = pointer_from<float>(in.initial.ssm, begin),
          .initial_k = pointer_from<float>(in.initial.k, begin),
          .initial_v = pointer_from<float>(in.initial.v, begin),
          .groups = size.groups,
          .pairs = {.is_adjacent = pairing == RotaryPairing::kAdjacent,
                    .state = size.state,
                    .angles = size.angles}};
}

/// What Mamba-3 needs besides Chunked.
struct Mamba3Scratch {
  float* phi;      // [E, M, H, L, S]
  float* start;    // [E, M, H, S]
  float* initial;  // [E, H, P, N]

  Mamba3Scratch(Scratch& scratch, const ChunkSizes& n, std::int64_t angles)
      : phi(scratch.take<float>(n.tokens() * angles)),
        start(scratch.take<float>(n.blocks() * angles)),
        initial(scratch.take<float>(n.states())) {}
};

/// Rows of q, k and x and the numbers of tokens. Returns the initial state, or null.
template <typename T, typename Launch>
const float* load_mamba3(const Launch& launch, const Mamba3Arrays<T>& in, const Chunked<T>& c,
                         const Mamba3Scratch& own, T* q_decayed, float* final_angle) {
  const ChunkSizes& n = c.n;
  launch.each(
      n.tokens(),
      Mamba3Tokens<T>{
          .in = in, .sigma = c.sigma, .gamma = c.gamma, .log_decays = c.log_decays, .n = n});
  launch.each(n.tokens(), SumDecays{.log_decays = c.log_decays, .sums = c.sums, .n = n});
  launch.each(n.blocks() * in.angles(), WalkAngles<T>{.in = in, .phi = own.phi, .n = n});
  launch.each(
      n.entries * n.heads * in.angles(),
      StartAngles<T>{
          .in = in, .phi = own.phi, .start = own.start, .final_angle = final_angle, .n = n});
  launch.rows(n.rows(), Mamba3Keys<T>{.in = in,
                                      .sums = c.sums,
                                      .start = own.start,
                                      .phi = own.phi,
                                      .q = c.q,
                                      .q_decayed = q_decayed,
                                      .k = c.k,
                                      .n = n});
  launch.rows(n.rows(), Mamba3Values<T>{.in = in, .x = c.x, .n = n});
  if (in.initial_ssm == nullptr) {
    return nullptr;
  }
  launch.each(n.states(), Mamba3Initial<T>{.in = in, .state = own.initial, .n = n});
  return own.initial;
}

template <typename T, typename Launch>
void mamba3_pass(const Launch& launch, const Mamba3CoreForward& args) {
  const Mamba3Size& size = args.size;
  const std::int64_t at_once = entries_at_once(size.batch, size.seq_len);
  const ChunkSizes sizes = chunk_sizes(size, at_once);
  Scratch scratch(launch.context());
  Chunked<T> c(scratch, sizes);
  c.gamma = scratch.take<float>(sizes.tokens());
  c.skip = args.in.d.data<float>();
  const Mamba3Scratch own(scratch, sizes, size.angles);
  const bool is_step = size.seq_len == 1;
  T* q_decayed = is_step ? nullptr : scratch.take<T>(sizes.rows() * sizes.state);
  float* o = is_step ? nullptr : scratch.take<float>(sizes.rows() * sizes.head_dim);
  for (std::int64_t begin = 0; begin < size.batch; begin += at_once) {
    c.n.entries = std::min(at_once, size.batch - begin);
    const ChunkSizes& n = c.n;
    const Mamba3Arrays<T> in = arrays_from<T>(args.in, size, args.pairing, begin);
    const float* initial =
        load_mamba3(launch, in, c, own, q_decayed, pointer_from<float>(args.state.angle, begin));
    float* final_ssm = pointer_from<float>(args.state.ssm, begin);
    T* out = pointer_from<T>(args.o, begin);
    if (is_step) {
      launch.rows(n.entries * n.heads * n.head_dim, Mamba3Recurrence<T>{.q = c.q,
                                                                        .k = c.k,
                                                                        .x = c.x,
                                                                        .gamma = c.gamma,
                                                                        .log_decays = c.log_decays,
                                                                        .initial = initial,
                                                                        .skip = c.skip,
                                                                        .o = out,
                                                                        .final_ssm = final_ssm,
                                                                        .n = n});
    } else {
      make_states(launch, c, initial, final_ssm);
      make_outputs(launch, c, q_decayed, o);
      launch.rows(n.rows(),
                  UnpackRows<T>{.packed = o, .to = out, .rows = contiguous_rows(n), .n = n});
    }
    launch.rows(n.entries * n.heads,
                Mamba3LastToken<T>{.in = in,
                                   .k = c.k,
                                   .final_k = pointer_from<float>(args.state.k, begin),
                                   .final_v = pointer_from<float>(args.state.v, begin),
                                   .n = n});
  }
}

/// Parts of the gradients of weights, [parts, ...] each; undefined where one is not wanted.
struct Mamba3Parts {
  Tensor q_bias;  // [B M, H R N]
  Tensor k_bias;  // [B M, H R N]
  Tensor d;       // [B M, H]
  Tensor mimo_x;  // [B M, H R P], and with an initial state [B, H R P] behind it

  Mamba3Parts(const Context& ctx, const Mamba3CoreInput& grad, const Mamba3Size& size,
              const ChunkSizes& n, bool has_initial) {
    const std::int64_t chunks = size.batch * n.num_chunks();
    const auto parts = [&](const Tensor& weight, std::int64_t rows) {
      return weight.defined() ? ctx.empty({rows, weight.numel()}, DType::kF32) : Tensor{};
    };
    q_bias = parts(grad.q_bias, chunks);
    k_bias = parts(grad.k_bias, chunks);
    d = parts(grad.d, chunks);
    mimo_x = parts(grad.mimo_x, chunks + (has_initial ? size.batch : 0));
  }
};

/// The backward pass of some entries for one cotangent after another.
template <typename T, typename Launch>
class Mamba3Pullback {
 public:
  Mamba3Pullback(const Launch& launch, const Mamba3CoreBackward& args)
      : launch_(launch),
        args_(args),
        scratch_(launch.context()),
        at_once_(entries_at_once(args.size.batch, args.size.seq_len)),
        sizes_(chunk_sizes(args.size, at_once_)),
        c_(scratch_, sizes_),
        d_(launch, scratch_, c_, /*is_kept=*/args.dout.dim(0) > 1),
        own_(scratch_, sizes_, args.size.angles),
        parts_(launch.context(), args.grad, args.size, sizes_, args.in.initial.defined()),
        dphi_(scratch_.take<float>(sizes_.tokens() * args.size.angles)),
        end_(scratch_.take<float>(sizes_.blocks() * args.size.angles)),
        initial_dx_(scratch_.take<float>(at_once_ * sizes_.heads * sizes_.ranks * sizes_.head_dim)),
        dback_(scratch_.take<float>(at_once_ * sizes_.heads)) {
    c_.gamma = scratch_.take<float>(sizes_.tokens());
    c_.skip = args.in.d.data<float>();
  }

  void run() {
    const std::int64_t batch = args_.size.batch;
    for (std::int64_t begin = 0; begin < batch; begin += at_once_) {
      c_.n.entries = std::min(at_once_, batch - begin);
      const Mamba3Arrays<T> in = arrays_from<T>(args_.in, args_.size, args_.pairing, begin);
      const float* initial = load_mamba3<T>(launch_, in, c_, own_, /*q_decayed=*/nullptr,
                                            /*final_angle=*/nullptr);
      make_states(launch_, c_, initial);
      make_scores(launch_, c_);
      for (std::int64_t p = 0; p < args_.dout.dim(0); ++p) {
        pull_back(launch_, c_, d_, pointer_from_entry<T>(args_.dout, p, begin),
                  contiguous_rows(c_.n), pointer_from_entry<float>(args_.dstate.ssm, p, begin));
        through_rotation(in, p, begin);
        if (in.initial_ssm != nullptr) {
          to_initial_state(in, p, begin);
        }
        give(in, p, begin);
        sum_weights(in, begin);
      }
    }
    add_weights();
  }

 private:
  // Of [P, B, ...].
  template <typename U>
  U* pointer_from_entry(const Tensor& x, std::int64_t p, std::int64_t entry) const {
    return x.defined() ? x.data<U>() + (p * x.dim(1) + entry) * (x.numel() / (x.dim(0) * x.dim(1)))
                       : nullptr;
  }

  void through_rotation(const Mamba3Arrays<T>& in, std::int64_t p, std::int64_t begin) const {
    const ChunkSizes& n = c_.n;
    launch_.rows(n.tokens(),
                 TurnBack<T>{.in = in,
                             .start = own_.start,
                             .phi = own_.phi,
                             .q = c_.q,
                             .k = c_.k,
                             .dfinal_k = pointer_from_entry<float>(args_.dstate.k, p, begin),
                             .dq = d_.dq,
                             .dk = d_.dk,
                             .dphi = dphi_,
                             .n = n});
    launch_.each(n.blocks() * in.angles(),
                 WalkAnglesBack{.dphi = dphi_, .angles = in.angles(), .n = n});
    launch_.each(
        n.entries * n.heads * in.angles(),
        EndAngles{.dphi = dphi_,
                  .dfinal = pointer_from_entry<float>(args_.dstate.angle, p, begin),
                  .end = end_,
                  .dinitial = pointer_from_entry<float>(args_.grad.initial.angle, p, begin),
                  .angles = in.angles(),
                  .n = n});
  }

  void to_initial_state(const Mamba3Arrays<T>& in, std::int64_t p, std::int64_t begin) const {
    const ChunkSizes& n = c_.n;
    const Mamba3State& grad = args_.grad.initial;
    launch_.rows(n.entries * n.heads * n.head_dim,
                 InitialInputs<T>{.in = in, .dh = d_.dinitial, .dx = initial_dx_, .n = n});
    const std::int64_t chunks = args_.size.batch * n.num_chunks();
    launch_.rows(
        n.entries * n.heads,
        InitialValueCotangents<T>{.in = in,
                                  .dx = initial_dx_,
                                  .dback = dback_,
                                  .dv = pointer_from_entry<float>(grad.v, p, begin),
                                  .mimo_part = pointer_from<float>(parts_.mimo_x, chunks + begin),
                                  .n = n});
    if (grad.k.defined()) {
      launch_.each(n.entries * n.ranks * n.heads * n.state,
                   InitialKeyCotangents<T>{.in = in,
                                           .dh = d_.dinitial,
                                           .dk = pointer_from_entry<float>(grad.k, p, begin),
                                           .n = n});
    }
    if (grad.ssm.defined()) {
      launch_.each(n.states(), CopyNumbers{.from = d_.dinitial,
                                           .to = pointer_from_entry<float>(grad.ssm, p, begin)});
    }
  }

  // Cotangents of the activations.
  void give(const Mamba3Arrays<T>& in, std::int64_t p, std::int64_t begin) const {
    const ChunkSizes& n = c_.n;
    const Mamba3CoreInput& grad = args_.grad;
    launch_.rows(n.tokens(),
                 Mamba3Scalars<T>{.in = in,
                                  .dphi = dphi_,
                                  .end = end_,
                                  .da = d_.da,
                                  .dsigma = d_.dsigma,
                                  .dgamma = d_.dgamma,
                                  .dback = in.initial_ssm == nullptr ? nullptr : dback_,
                                  .da_out = pointer_from_entry<float>(grad.a, p, begin),
                                  .ddt_out = pointer_from_entry<float>(grad.dt, p, begin),
                                  .dtrap_out = pointer_from_entry<T>(grad.trap, p, begin),
                                  .n = n});
    const std::int64_t tokens = n.entries * n.seq_len;
    if (grad.angle.defined()) {
      launch_.each(tokens * in.angles(),
                   AngleCotangents<T>{.in = in,
                                      .dphi = dphi_,
                                      .end = end_,
                                      .dangle = pointer_from_entry<T>(grad.angle, p, begin),
                                      .n = n});
    }
    const auto give_keys = [&](const float* from, const Tensor& to) {
      if (to.defined()) {
        launch_.rows(tokens * n.ranks * in.groups,
                     Mamba3KeyCotangents<T>{.from = from,
                                            .to = pointer_from_entry<T>(to, p, begin),
                                            .groups = in.groups,
                                            .n = n});
      }
    };
    give_keys(d_.dq, grad.q);
    give_keys(d_.dk, grad.k);
    if (grad.v.defined()) {
      launch_.rows(
          tokens * n.heads,
          Mamba3ValueCotangents<T>{.in = in,
                                   .dx = d_.dx,
                                   .dfinal_v = pointer_from_entry<float>(args_.dstate.v, p, begin),
                                   .dv = pointer_from_entry<T>(grad.v, p, begin),
                                   .n = n});
    }
  }

  void sum_weights(const Mamba3Arrays<T>& in, std::int64_t begin) const {
    const ChunkSizes& n = c_.n;
    const std::int64_t first = begin * n.num_chunks();
    const auto sum_keys = [&](const float* from, const Tensor& parts) {
      if (parts.defined()) {
        launch_.rows(
            n.blocks() * n.ranks,
            SumTokens{
                .from = from, .part = pointer_from<float>(parts, first), .width = n.state, .n = n});
      }
    };
    sum_keys(d_.dq, parts_.q_bias);
    sum_keys(d_.dk, parts_.k_bias);
    if (parts_.mimo_x.defined()) {
      launch_.rows(
          n.blocks() * n.ranks,
          SumMimo<T>{
              .in = in, .dx = d_.dx, .part = pointer_from<float>(parts_.mimo_x, first), .n = n});
    }
    if (parts_.d.defined()) {
      launch_.rows(
          n.blocks(),
          SumSkips{.dskip = d_.dskip, .part = pointer_from<float>(parts_.d, first), .n = n});
    }
  }

  void add_weights() const {
    const auto add = [&](const Tensor& parts, const Tensor& grad) {
      if (parts.defined()) {
        launch_.add_parts(parts, grad, /*accumulate=*/true);
      }
    };
    add(parts_.q_bias, args_.grad.q_bias);
    add(parts_.k_bias, args_.grad.k_bias);
    add(parts_.d, args_.grad.d);
    add(parts_.mimo_x, args_.grad.mimo_x);
  }

  const Launch& launch_;
  const Mamba3CoreBackward& args_;
  Scratch scratch_;
  std::int64_t at_once_;
  ChunkSizes sizes_;
  Chunked<T> c_;
  ChunkedCotangents<T> d_;
  Mamba3Scratch own_;
  Mamba3Parts parts_;
  float* dphi_;        // [E, M, H, L, S]
  float* end_;         // [E, M, H, S]
  float* initial_dx_;  // [E, H, R, P]
  float* dback_;       // [E, H]
};

template <typename T, typename Launch>
void mamba3_pass(const Launch& launch, const Mamba3CoreBackward& args) {
  Mamba3Pullback<T, Launch>(launch, args).run();
}

}  // namespace ghost::cuda
