#include "models/lbi/region_messages.h"

#include "engine/tensor/primitives.h"

namespace ghost {

RegionRange regions_of_rank(std::size_t num_regions, int rank, int num_ranks) {
  const auto begin_of = [&](int r) {
    return num_regions * static_cast<std::size_t>(r) / static_cast<std::size_t>(num_ranks);
  };
  return {.begin = begin_of(rank), .end = begin_of(rank + 1)};
}

RegionMessages::RegionMessages(RankGrid& grid, int num_serial)
    : grid_(grid),
      rank_(grid.region_rank()),
      last_(grid.num_region_ranks() - 1),
      seed_owner_(last_ - num_serial) {
  GHOST_CHECK(num_serial >= 0 && num_serial <= last_,
              "{} serial region ranks; expected 0 to {}, all below the last", num_serial, last_);
  Communicator& small = grid.small();
  if (seed_owner_ > 1) {
    pullbacks_ = small.split(rank_ < seed_owner_ ? 0 : 1, rank_, "regions.pullbacks");
  }
  if (seed_owner_ > 0) {
    seed_ = small.split(rank_ <= seed_owner_ ? 0 : 1, rank_, "regions.seed");
  }
}

Tensor RegionMessages::canvas(Context& ctx, const Shape& shape, DType dtype,
                              const std::function<Tensor()>& make) {
  const Tensor canvas = is_last() ? make() : ctx.empty(shape, dtype);
  Communicator& comm = grid_.bulk();
  grid_.count(MessageKind::kCanvas, comm, [&] { comm.broadcast(canvas, last_); });
  return canvas;
}

Tensor RegionMessages::state(Context& ctx, const Shape& shape, DType dtype,
                             const std::function<Tensor()>& make) {
  if (is_first()) {
    return make();
  }
  const Tensor state = ctx.empty(shape, dtype);
  Communicator& comm = grid_.small();
  grid_.count(MessageKind::kState, comm, [&] { comm.recv(state, rank_ - 1); });
  return state;
}

void RegionMessages::send_state(const Tensor& state) {
  Communicator& comm = grid_.small();
  grid_.count(MessageKind::kState, comm, [&] { comm.send(state, rank_ + 1); });
}

Tensor RegionMessages::suffix_of_pullbacks(Context& ctx, const Tensor& own,
                                           const RegionsConfig& config) {
  Tensor suffix;
  grid_.count(MessageKind::kPullbacks, *pullbacks_, [&] {
    suffix = config.exchange == SuffixExchange::kScan ? scanned_suffix(ctx, own)
                                                      : gathered_suffix(ctx, own, config.suffix);
  });
  return suffix;
}

Tensor RegionMessages::gathered_suffix(Context& ctx, const Tensor& own, SuffixMethod method) {
  const Tensor all = ctx.empty({seed_owner_, own.dim(1), own.dim(2), own.dim(3)}, own.dtype());
  pullbacks_->all_gather(own, all);
  if (rank_ + 1 == seed_owner_) {
    return {};
  }
  return suffix_products(ctx, all.slice(rank_ + 1, seed_owner_), method).slice(0, 1);
}

// Hillis and Steele over ranks: after the round of distance d the product has 2 d factors, or all.
Tensor RegionMessages::scanned_suffix(Context& ctx, const Tensor& own) {
  const int num_suffixes = seed_owner_ - 1;
  Tensor suffix = from_above(ctx, own, /*distance=*/1, seed_owner_);
  for (int distance = 1; distance < num_suffixes; distance *= 2) {
    const Tensor next = from_above(ctx, suffix, distance, num_suffixes);
    if (next.defined()) {
      const Tensor pair = ctx.empty({2, own.dim(1), own.dim(2), own.dim(3)}, own.dtype());
      copy(pair.slice(0, 1), suffix);
      copy(pair.slice(1, 2), next);
      suffix = suffix_products(ctx, pair, SuffixMethod::kChain).slice(0, 1);
    }
  }
  return suffix;
}

// A send may wait until it is received: of each pair that exchanges, one sends first.
Tensor RegionMessages::from_above(Context& ctx, const Tensor& x, int distance, int num_ranks) {
  if (rank_ >= num_ranks) {
    return {};
  }
  Tensor received;
  const auto send = [&] {
    if (rank_ >= distance) {
      pullbacks_->send(x, rank_ - distance);
    }
  };
  const bool sends_first = rank_ / distance % 2 == 0;
  if (sends_first) {
    send();
  }
  if (rank_ + distance < num_ranks) {
    received = ctx.empty_like(x);
    pullbacks_->recv(received, rank_ + distance);
  }
  if (!sends_first) {
    send();
  }
  return received;
}

void RegionMessages::receive_adjoint(const Tensor& adjoint) {
  if (rank_ < seed_owner_) {
    grid_.count(MessageKind::kAdjoint, *seed_, [&] { seed_->broadcast(adjoint, seed_owner_); });
  } else {
    Communicator& comm = grid_.small();
    grid_.count(MessageKind::kAdjoint, comm, [&] { comm.recv(adjoint, rank_ + 1); });
  }
}

void RegionMessages::hand_adjoint_on(const Tensor& adjoint) {
  if (rank_ == seed_owner_) {
    grid_.count(MessageKind::kAdjoint, *seed_, [&] { seed_->broadcast(adjoint, seed_owner_); });
  } else {
    Communicator& comm = grid_.small();
    grid_.count(MessageKind::kAdjoint, comm, [&] { comm.send(adjoint, rank_ - 1); });
  }
}

void RegionMessages::share_loss(const Tensor& loss) {
  Communicator& comm = grid_.small();
  grid_.count(MessageKind::kLoss, comm, [&] { comm.broadcast(loss, last_); });
}

void RegionMessages::sum_canvas_gradient(const Tensor& dcanvas) {
  Communicator& comm = grid_.bulk();
  grid_.count(MessageKind::kCanvasGradient, comm, [&] { comm.reduce(dcanvas, last_); });
}

}  // namespace ghost
