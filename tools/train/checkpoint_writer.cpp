#include "tools/train/checkpoint_writer.h"

#include <chrono>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/train/checkpoint_parts.h"

namespace ghost {
namespace {

/// Where cores are few, training comes first. Linux has this for single threads; if it is refused,
/// nothing is lost.
void give_way() {
  constexpr int kNice = 10;
  static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice));
}

}  // namespace

CheckpointWriter::CheckpointWriter(CheckpointDirectory directory, const CheckpointConfig& config,
                                   RankGrid& grid)
    : directory_(std::move(directory)), config_(config), grid_(grid) {}

CheckpointWriter::~CheckpointWriter() {
  if (pending_.valid()) {
    pending_.wait();
  }
}

void CheckpointWriter::save(const TrainerState& state, std::vector<NamedTensor> model,
                            std::vector<NamedTensor> optimizer, When when) {
  if (grid_.replica() != 0) {
    return;
  }
  finish();
  if (is_shared()) {
    if (grid_.is_writer()) {
      directory_.begin(state.step);
    }
    grid_.count(MessageKind::kControl, grid_.bulk(), [&] { grid_.bulk().barrier(); });
  }
  state_ = state;
  if (when == When::kNow) {
    model_ = model;
    optimizer_ = optimizer;
    pending_ = std::async(std::launch::deferred, [this] { return write(); });
    finish();
    return;
  }
  model_copy_.take(model);
  optimizer_copy_.take(optimizer);
  model_ = model_copy_.tensors();
  optimizer_ = optimizer_copy_.tensors();
  pending_ = std::async(std::launch::async, [this] {
    give_way();
    return write();
  });
}

std::vector<CheckpointFile> CheckpointWriter::write() const {
  if (is_shared()) {
    return directory_.write_part(state_,
                                 {.index = grid_.region_rank(), .count = grid_.num_region_ranks()},
                                 model_, optimizer_);
  }
  directory_.save(state_, model_, optimizer_);
  prune();
  return {};
}

void CheckpointWriter::prune() const { directory_.prune(config_.keep_last, config_.keep_best); }

bool CheckpointWriter::is_written() const {
  return pending_.valid() &&
         pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void CheckpointWriter::finish() {
  if (!pending_.valid()) {
    return;
  }
  const std::vector<CheckpointFile> own = pending_.get();
  if (!is_shared()) {
    return;
  }
  const std::vector<CheckpointFile> files = files_of_all(grid_, own);
  if (grid_.is_writer()) {
    directory_.commit(state_, files);
    prune();
  }
}

}  // namespace ghost
