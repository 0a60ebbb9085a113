#pragma once

#include <functional>
#include <memory>

#include "models/lbi/regions_pass.h"
#include "models/rank_grid.h"

namespace ghost {

/// The regions of one of `num_ranks` ranks: sizes differ by one at most.
RegionRange regions_of_rank(std::size_t num_regions, int rank, int num_ranks);

/// The messages of one forward and backward pass through regions that are spread over the region
/// ranks of one replica, R of them. The last rank has embedding and readout, the first one the
/// initial state. Every rank calls what concerns it, in this order:
///
///   canvas           last -> all            broadcast  [B, T, C]
///   state            rank -> next           send       [B, S, r]
///   pullbacks        among ranks below the seed's owner, [B, S r, S r] each: all-gather, or
///                    sends at distance 1, then 1, 2, 4, ...
///   adjoint          seed's owner -> all below, broadcast; above it from rank to rank, send
///   loss             last -> all            broadcast  [1]
///   canvas gradient  all -> last            reduce     [B, T, C]
///
/// The seed is the cotangent of the input state of its owner: the last rank, or with serial ranks
/// the lowest of these. Its owner has no part in the pullbacks, so that the products are there
/// before the seed exists.
class RegionMessages {
 public:
  /// Collective over the grid. Of the ranks below the last, the top `num_serial` hand adjoints on
  /// one by one. The grid must outlive the object.
  RegionMessages(RankGrid& grid, int num_serial);

  int rank() const { return rank_; }
  bool is_first() const { return rank_ == 0; }
  bool is_last() const { return rank_ == last_; }
  /// Whether others wait for the cotangent of this rank's input state.
  bool hands_adjoint_on() const { return rank_ >= seed_owner_ && !is_first(); }
  /// Whether this rank takes part in the exchange of pullbacks, and whether it has one to give: the
  /// first rank's own backward pass says what its pullback would.
  bool exchanges_pullbacks() const { return pullbacks_ != nullptr && rank_ < seed_owner_; }
  bool gives_pullback() const { return exchanges_pullbacks() && !is_first(); }

  /// The canvas of `shape`: what `make` returns on the last rank.
  Tensor canvas(Context& ctx, const Shape& shape, DType dtype, const std::function<Tensor()>& make);
  /// The state of `shape` that comes into this rank's regions: on the first rank what `make`
  /// returns.
  Tensor state(Context& ctx, const Shape& shape, DType dtype, const std::function<Tensor()>& make);
  void send_state(const Tensor& state);
  /// Of the n ranks below the seed's owner with pullbacks Q [1, B, W, W], on rank k: the product
  /// Q_(k+1) ... Q_(n-1), which takes the seed to the cotangent of this rank's output. Undefined on
  /// the last of them. The first one's `own` counts for nothing.
  Tensor suffix_of_pullbacks(Context& ctx, const Tensor& own, const RegionsConfig& config);
  /// The cotangent that comes from above: the seed, or of a serial rank that of its output.
  void receive_adjoint(const Tensor& adjoint);
  void hand_adjoint_on(const Tensor& adjoint);
  /// The last rank's loss; elsewhere into `loss`.
  void share_loss(const Tensor& loss);
  /// On the last rank: the sum over ranks.
  void sum_canvas_gradient(const Tensor& dcanvas);

 private:
  Tensor gathered_suffix(Context& ctx, const Tensor& own, SuffixMethod method);
  Tensor scanned_suffix(Context& ctx, const Tensor& own);
  /// What rank + distance has as `x`, of the first `num_ranks`; undefined where there is none.
  Tensor from_above(Context& ctx, const Tensor& x, int distance, int num_ranks);

  RankGrid& grid_;
  int rank_;
  int last_;
  int seed_owner_;
  std::unique_ptr<Communicator>
      pullbacks_;                       // ranks below the seed's owner; null for fewer than two
  std::unique_ptr<Communicator> seed_;  // they and the owner; null where it has none below
};

}  // namespace ghost
