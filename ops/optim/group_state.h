#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/optim/optimizer.h"

namespace ghost {

/// "decay" or "no_decay": what a tensor of a group is called behind the name of its quantity.
std::string_view group_name(Decay decay);

/// One quantity that an optimizer tracks for every parameter element: a tensor a group, laid out as
/// the group's values and of their dtype, zero at first.
class GroupState {
 public:
  GroupState() = default;
  GroupState(std::string name, Context& ctx, const ParameterStore& store);

  const Tensor& of(std::size_t group) const { return tensors_.at(group); }

  /// Throws ghost::Error unless `store` has the groups that this was made for.
  void check_matches(const ParameterStore& store) const;

  /// Adds NAME.decay and NAME.no_decay, where these groups exist.
  void append_to(std::vector<NamedTensor>& list) const;

 private:
  std::string name_;
  Tensors tensors_;
  std::vector<std::string> group_names_;
};

}  // namespace ghost
