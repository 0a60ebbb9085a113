#include "models/lbi/region_messages.h"

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

void RegionMessages::gather_pullbacks(const Tensor& own, const Tensor& all) {
  grid_.count(MessageKind::kPullbacks, *pullbacks_, [&] { pullbacks_->all_gather(own, all); });
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
