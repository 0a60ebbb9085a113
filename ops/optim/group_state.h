#pragma once

#include <string>
#include <vector>

#include "ops/optim/optimizer.h"

namespace ghost {

/// One quantity that an optimizer tracks for every parameter element: a tensor a group, laid out as
/// the group's values and of their dtype, zero at first.
class GroupState {
 public:
  GroupState() = default;
  GroupState(std::string name, Context& ctx, const ParameterStore& store);

  const Tensor& of(std::size_t group) const { return tensors_.at(group); }

  /// Throws ghost::Error unless `store` has the groups that this was made for.
  void check_matches(const ParameterStore& store) const;

  /// Adds NAME.PARAMETER of every parameter, of its shape; undefined for those that are not here.
  void append_to(std::vector<NamedTensor>& list) const;

 private:
  std::string name_;
  Tensors tensors_;
  std::vector<NamedTensor> by_parameter_;  // views of them
};

}  // namespace ghost
