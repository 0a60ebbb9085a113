#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/comm/communicator.h"
#include "engine/config/enum_names.h"

namespace ghost {

/// What the messages of a training step are for.
enum class MessageKind {
  kCanvas,          // embedded tokens, to every region
  kState,           // from region to region, forward
  kPullbacks,       // products of region Jacobians
  kAdjoint,         // cotangents of states: the seed, or from region to region
  kLoss,            // for the log
  kCanvasGradient,  // its sum over regions, to the embedding
  kGradients,       // of parameters, over replicas
  kFactors,         // of such gradients, in place of their sum
  kNorm,            // sum of their squares, over regions
  kControl,         // these counts, signals to stop, checkpoints
};
inline constexpr std::size_t kNumMessageKinds = 10;

template <>
struct EnumNames<MessageKind> {
  static constexpr EnumName<MessageKind> kNames[] = {
      {MessageKind::kCanvas, "canvas"},       {MessageKind::kState, "state"},
      {MessageKind::kPullbacks, "pullbacks"}, {MessageKind::kAdjoint, "adjoint"},
      {MessageKind::kLoss, "loss"},           {MessageKind::kCanvasGradient, "canvas_gradient"},
      {MessageKind::kGradients, "gradients"}, {MessageKind::kFactors, "factors"},
      {MessageKind::kNorm, "norm"},           {MessageKind::kControl, "control"}};
};

/// Of one rank or summed over ranks, in the order of MessageKind.
using MessageCounts = std::array<CommCount, kNumMessageKinds>;

class RankGrid;
/// What all ranks of a grid have counted, summed. Collective over the world.
MessageCounts counts_of_all(RankGrid& grid);

/// Ranks as a grid: every replica is `num_region_ranks` ranks that share one model's regions.
///
///   rank of the world = replica * num_region_ranks + region_rank
///
/// Groups: the region ranks of a replica, once for small messages that somebody waits for and once
/// for bulky ones, and the replicas of a region rank. Rank 0 of the world writes a run's files.
class RankGrid {
 public:
  /// Collective. Throws ghost::ConfigError, on every rank, when the world cannot be divided into
  /// `region_ranks`. The world must outlive the grid.
  RankGrid(Communicator& world, std::int64_t region_ranks);

  int replica() const { return replicas_->rank(); }
  int num_replicas() const { return replicas_->size(); }
  int region_rank() const { return small_->rank(); }
  int num_region_ranks() const { return small_->size(); }
  bool is_alone() const { return world_.size() == 1; }
  bool is_writer() const { return world_.rank() == 0; }

  Communicator& world() const { return world_; }
  Communicator& small() const { return *small_; }
  Communicator& bulk() const { return *bulk_; }
  Communicator& replicas() const { return *replicas_; }

  /// Runs `exchange` and counts what it moves through `comm` as messages of `kind`.
  void count(MessageKind kind, const Communicator& comm, const std::function<void()>& exchange);

  /// Adds up each of `numbers` over the ranks of `comm`, one of this grid's, for whoever wants
  /// numbers of the host and no tensor.
  void sum(MessageKind kind, Communicator& comm, std::span<double> numbers);

  /// Of this rank since the last reset.
  const MessageCounts& counts() const { return counts_; }
  void reset_counts() { counts_ = {}; }

 private:
  Communicator& world_;
  std::unique_ptr<Communicator> small_;
  std::unique_ptr<Communicator> bulk_;
  std::unique_ptr<Communicator> replicas_;
  MessageCounts counts_{};
};

}  // namespace ghost
