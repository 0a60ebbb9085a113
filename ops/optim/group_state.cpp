#include "ops/optim/group_state.h"

#include <map>
#include <utility>

namespace ghost {

GroupState::GroupState(std::string name, Context& ctx, const ParameterStore& store)
    : name_(std::move(name)) {
  GHOST_CHECK(store.is_materialized() || store.all().empty(),
              "optimizer state {} was asked for parameters without memory; materialize them first",
              name_);
  std::map<const Parameter*, Tensor> places;
  for (const ParameterGroup& group : store.groups()) {
    const Tensor state =
        ctx.zeros(group.values.shape(), group.values.dtype(), MemoryTag::kOptimizer);
    for (const Parameter* member : group.members) {
      const std::int64_t end = member->offset + member->shape.numel();
      places[member] = state.slice(member->offset, end).reshape(member->shape);
    }
    tensors_.push_back(state);
  }
  for (const auto& parameter : store.all()) {
    const auto place = places.find(parameter.get());
    by_parameter_.push_back({.name = fmt::format("{}.{}", name_, parameter->name),
                             .tensor = place == places.end() ? Tensor{} : place->second});
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
  list.insert(list.end(), by_parameter_.begin(), by_parameter_.end());
}

}  // namespace ghost
