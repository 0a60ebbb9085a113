#include "ops/optim/group_state.h"

#include <utility>

namespace ghost {

std::string_view group_name(Decay decay) { return decay == Decay::kYes ? "decay" : "no_decay"; }

GroupState::GroupState(std::string name, Context& ctx, const ParameterStore& store)
    : name_(std::move(name)) {
  GHOST_CHECK(store.is_materialized() || store.all().empty(),
              "optimizer state {} was asked for parameters without memory; materialize them first",
              name_);
  for (const ParameterGroup& group : store.groups()) {
    tensors_.push_back(
        ctx.zeros(group.values.shape(), group.values.dtype(), MemoryTag::kOptimizer));
    group_names_.emplace_back(group_name(group.decay));
  }
}

void GroupState::check_matches(const ParameterStore& store) const {
  bool matches = tensors_.size() == store.groups().size();
  for (std::size_t i = 0; matches && i < tensors_.size(); ++i) {
    matches = tensors_[i].shape() == store.groups()[i].values.shape() &&
              tensors_[i].dtype() == store.groups()[i].values.dtype();
  }
  GHOST_CHECK(matches, "optimizer state {} does not fit the parameters; it was made for others",
              name_);
}

void GroupState::append_to(std::vector<NamedTensor>& list) const {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    list.push_back({.name = name_ + "." + group_names_[i], .tensor = tensors_[i]});
  }
}

}  // namespace ghost
